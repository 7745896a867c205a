//! When those who were turned away may come back: each is told a moment of its own, one place apart, so that they do not
//! all return for the first place that gets free.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest wait that is told.
const LONGEST: Duration = Duration::from_secs(300);

/// The moments given out.
#[derive(Debug, Default)]
pub(crate) struct Turnstile(Mutex<Option<Instant>>);

impl Turnstile {
    /// The wait for one more, where a place gets free every `each`.
    pub(crate) fn wait(&self, each: Duration, now: Instant) -> Duration {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = last.map_or(now, |last| last.max(now));
        let wait = (begin + each).saturating_duration_since(now).min(LONGEST);
        *last = Some(now + wait);
        wait.max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let (turnstile, now, each) = (Turnstile::default(), Instant::now(), Duration::from_secs(10));
        for place in 1..=30 {
            assert_eq!(turnstile.wait(each, now), each * place);
        }
        assert_eq!(turnstile.wait(each, now), LONGEST);
        assert_eq!(turnstile.wait(each, now + LONGEST * 2), each, "it is forgotten once it has passed");
        assert_eq!(Turnstile::default().wait(Duration::from_millis(3), now), Duration::from_secs(1));
    }
}
