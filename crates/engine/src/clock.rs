//! Seconds per stage.

use std::time::{Duration, Instant};

/// A stopwatch that writes down its laps.
pub(crate) struct Clock {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    /// Ends the lap `name`.
    pub(crate) fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.push((name, now - self.last));
        self.last = now;
    }

    /// Names and lengths of the laps, in order.
    pub(crate) fn laps(self) -> Vec<(&'static str, Duration)> {
        self.laps
    }
}
