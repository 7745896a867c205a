//! Token buckets, one per key: `n` transfers per minute, `n` at once at most. Off where `n` is 0.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets of all keys.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<HashMap<String, Bucket>>);

impl RateLimiter {
    /// Takes one of `per_minute` transfers of `owner`. `Err` says how long until there is one again.
    pub(crate) fn take(&self, owner: &str, per_minute: u32, now: Instant) -> Result<(), Duration> {
        if per_minute == 0 {
            return Ok(());
        }
        let full = f64::from(per_minute);
        let per_second = full / 60.0;
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(owner.to_owned()).or_insert(Bucket { tokens: full, filled: now });
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * per_second;
        bucket.tokens = (bucket.tokens + gained).min(full);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / per_second));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Until `owner` may send as many at once as ever; nothing where there is no limit.
    pub(crate) fn until_full(&self, owner: &str, per_minute: u32) -> Option<Duration> {
        if per_minute == 0 {
            return None;
        }
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(per_minute);
        let missing = buckets.get(owner).map_or(0.0, |bucket| full - bucket.tokens);
        Some(Duration::from_secs_f64(missing.max(0.0) * 60.0 / full))
    }
}

/// ISO 8601 in UTC to the second, `2026-11-22T23:05:00Z`.
pub(crate) fn utc(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    // To the second, rounded down: what is promised for a moment holds at that moment.
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let (limiter, start) = (RateLimiter::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(limiter.take("a", 2, start).is_ok() && limiter.take("a", 2, start).is_ok());
        let wait = limiter.take("a", 2, start).unwrap_err();
        assert!((29.9..=30.1).contains(&wait.as_secs_f64()), "{wait:?}");
        assert!(limiter.take("b", 2, start).is_ok(), "keys do not share");
        assert!(limiter.take("a", 2, at(29)).is_err() && limiter.take("a", 2, at(31)).is_ok());
        assert!(limiter.take("a", 0, start).is_ok() && limiter.until_full("a", 0).is_none());
        assert!(limiter.until_full("a", 2).unwrap() > Duration::from_secs(29));
    }

    #[test]
    fn dates() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        // `date -u -d @N +%FT%TZ`
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_794_000_000), "2026-11-06T21:20:00Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
