//! Token buckets: `n` requests per minute, `n` at once at most. Off where `n` is 0. Each key has one for its transfers, each
//! address one for its wrong keys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
struct Bucket {
    full: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// What has run in since it was filled last.
    fn fill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.full / 60.0;
        self.tokens = (self.tokens + gained).min(self.full);
        self.filled = now;
    }
}

/// The bucket of those for whom there is none of their own any more.
const OTHERS: &str = "";

/// Buckets by name.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    most: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl RateLimiter {
    /// Buckets for `most` names that are not full again; all further ones share one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, buckets: Mutex::default() }
    }

    /// Takes one of `per_minute` requests of `name`. `Err` says how long until there is one again.
    pub(crate) fn take(&self, name: &str, per_minute: u32, now: Instant) -> Result<(), Duration> {
        if per_minute == 0 {
            return Ok(());
        }
        let full = f64::from(per_minute);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.most && !buckets.contains_key(name) {
            buckets.retain(|_, bucket| {
                bucket.fill(now);
                bucket.tokens < bucket.full
            });
        }
        let name = if buckets.len() >= self.most && !buckets.contains_key(name) { OTHERS } else { name };
        let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { full, tokens: full, filled: now });
        bucket.fill(now);
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) * 60.0 / full));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Until `name` may send as many at once as ever; nothing where there is no limit.
    pub(crate) fn until_full(&self, name: &str, per_minute: u32) -> Option<Duration> {
        if per_minute == 0 {
            return None;
        }
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(per_minute);
        let missing = buckets.get(name).map_or(0.0, |bucket| full - bucket.tokens);
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
        let (limiter, start) = (RateLimiter::new(2), Instant::now());
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
    fn the_table_is_bounded() {
        let (limiter, start) = (RateLimiter::new(2), Instant::now());
        let take = |name: &str, seconds| limiter.take(name, 1, start + Duration::from_secs(seconds)).is_ok();
        assert!(take("a", 0) && take("b", 0), "each has its own");
        assert!(take("c", 0) && !take("d", 0), "these share one");
        assert!(!take("a", 1) && !take("b", 1), "nobody lost their place");
        for n in 0..1000 {
            take(&n.to_string(), 2);
        }
        assert_eq!(limiter.buckets.lock().unwrap().len(), 3);
        assert!(take("e", 70) && take("f", 70) && !take("e", 71), "places get free");
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
