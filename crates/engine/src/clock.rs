//! Seconds per stage.

use std::time::{Duration, Instant};

/// A stopwatch that writes down its laps.
#[derive(Debug)]
pub struct Clock {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    /// Ends the lap `name`.
    pub fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.push((name, now - self.last));
        self.last = now;
    }

    /// Names and lengths of the laps, in order.
    #[must_use]
    pub fn laps(self) -> Vec<(&'static str, Duration)> {
        self.laps
    }
}
