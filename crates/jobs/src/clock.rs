//! Time as the store knows it: a wall clock that may jump, a steady clock that does not, and what is made of the two.
//!
//! [`StoreTime`] never goes back and never jumps. It begins at the wall clock, or at the latest moment that an earlier run
//! noted if that is later, and goes on at the steady clock's pace: whatever happens to the wall clock while the process
//! runs (NTP, an operator, a machine resumed), nothing lives longer or shorter. Milliseconds since the unix epoch.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, unix ms. May jump both ways.
    fn wall(&self) -> u64;

    /// Time since some fixed moment. Never goes back, not even when the wall clock does.
    fn steady(&self) -> Duration;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        // A wall clock before 1970 counts as 1970; StoreTime copes with a clock that is behind.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    }

    fn steady(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock moved by hand, for tests of what takes an hour.
#[derive(Debug)]
pub struct ManualClock(Mutex<(u64, Duration)>);

impl ManualClock {
    /// A clock that stands at `wall`, unix ms.
    pub fn at(wall: u64) -> Self {
        Self(Mutex::new((wall, Duration::ZERO)))
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        let mut hands = self.hands();
        hands.0 += span.as_millis() as u64;
        hands.1 += span;
    }

    /// Sets the wall clock, forward or back, as an operator would.
    pub fn set_wall(&self, wall: u64) {
        self.hands().0 = wall;
    }

    fn hands(&self) -> MutexGuard<'_, (u64, Duration)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> u64 {
        self.hands().0
    }

    fn steady(&self) -> Duration {
        self.hands().1
    }
}

/// The store's own time, see the module's head.
#[derive(Debug)]
pub(crate) struct StoreTime {
    clock: Arc<dyn Clock>,
    /// The first moment of the store's time (unix ms) and the steady clock's reading at it.
    begin: (u64, Duration),
}

impl StoreTime {
    /// Starts at the wall clock, or at `seen`, the latest moment an earlier run noted, if that is later.
    pub(crate) fn starting_at(clock: Arc<dyn Clock>, seen: u64) -> Self {
        let begin = (clock.wall().max(seen), clock.steady());
        Self { clock, begin }
    }

    /// Now, unix ms; never less than any answer before.
    pub(crate) fn now(&self) -> u64 {
        let passed = self.clock.steady().saturating_sub(self.begin.1);
        self.begin.0.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// The steady clock, for leases: a jump of the wall clock must not take a job from its worker.
    pub(crate) fn steady(&self) -> Duration {
        self.clock.steady()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_the_wall_clock_and_keeps_to_the_steady_one() {
        let clock = Arc::new(ManualClock::at(1000));
        let time = StoreTime::starting_at(clock.clone(), 400);
        assert_eq!(time.now(), 1000);
        clock.advance(Duration::from_millis(10));
        clock.set_wall(7_200_000);
        assert_eq!(time.now(), 1010, "a jump forward ages nothing");
        clock.advance(Duration::from_millis(20));
        clock.set_wall(100);
        assert_eq!(time.now(), 1030, "set back: 20 ms have passed all the same");
        assert_eq!(StoreTime::starting_at(clock.clone(), 9000).now(), 9000, "what was seen before counts");
        clock.set_wall(9100);
        assert_eq!(StoreTime::starting_at(clock, 9000).now(), 9100);
    }
}
