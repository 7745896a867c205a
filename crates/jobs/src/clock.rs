//! Time as the store knows it: a wall clock that may jump, a steady clock that does not, and what is made of the two.
//!
//! [`StoreTime`] never goes back. It is the wall clock while that one runs ahead, and goes on at the steady clock's
//! pace while the wall clock lags behind what was seen before (an operator or NTP set it back). So an expired job stays
//! expired, and a job that ends during the lag still lives exactly its time. Milliseconds since the unix epoch.

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
    /// A moment of the store's time (unix ms) and the steady clock's reading at it.
    anchor: Mutex<(u64, Duration)>,
}

impl StoreTime {
    /// Starts at the wall clock, or at `seen`, the latest moment an earlier run noted, if that is later.
    pub(crate) fn starting_at(clock: Arc<dyn Clock>, seen: u64) -> Self {
        let anchor = Mutex::new((clock.wall().max(seen), clock.steady()));
        Self { clock, anchor }
    }

    /// Now, unix ms; never less than any answer before.
    pub(crate) fn now(&self) -> u64 {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, steady) = (self.clock.wall(), self.clock.steady());
        let reckoned = anchor.0 + steady.saturating_sub(anchor.1).as_millis() as u64;
        if wall > reckoned {
            *anchor = (wall, steady);
        }
        wall.max(reckoned)
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
    fn follows_the_wall_clock_forward_and_the_steady_clock_otherwise() {
        let clock = Arc::new(ManualClock::at(1000));
        let time = StoreTime::starting_at(clock.clone(), 400);
        assert_eq!(time.now(), 1000);
        clock.advance(Duration::from_millis(10));
        clock.set_wall(5000);
        assert_eq!(time.now(), 5000, "jumped forward");
        clock.advance(Duration::from_millis(20));
        clock.set_wall(100);
        assert_eq!(time.now(), 5020, "set back: 20 ms have passed all the same");
        clock.advance(Duration::from_millis(10));
        clock.set_wall(5015);
        assert_eq!(time.now(), 5030, "the wall clock is still behind");
        clock.advance(Duration::from_millis(10));
        clock.set_wall(5100);
        assert_eq!(time.now(), 5100, "and ahead again");
        assert_eq!(StoreTime::starting_at(clock, 9000).now(), 9000, "what was seen before counts");
    }
}
