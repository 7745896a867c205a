//! How far a transfer is.

use engine::Progress;

/// What a whole transfer is counted in.
pub(crate) const WHOLE: usize = 1000;

/// The stages in their order, and how far the transfer is when each has ended: their usual shares of the time, measured
/// with pictures of 640 × 640 and the default number of steps.
const ENDS: [(&str, usize); 6] = [
    ("mask", 120),
    ("material", 210),
    ("form", 280),
    ("surface", 400),
    ("sample", 940),
    ("composite", WHOLE),
];

/// Tells a [`Progress`] of every stage that ends, and of every call while it samples.
pub(crate) struct Course<'a> {
    progress: &'a dyn Progress,
    stage: usize,
}

impl<'a> Course<'a> {
    /// Nothing is done yet.
    pub(crate) fn start(progress: &'a dyn Progress) -> Self {
        progress.advance(ENDS[0].0, 0, WHOLE);
        Self { progress, stage: 0 }
    }

    fn began_at(&self) -> usize {
        self.stage.checked_sub(1).map_or(0, |before| ENDS[before].1)
    }

    /// `done` of `total` equal parts of this stage are over.
    pub(crate) fn part(&self, done: usize, total: usize) {
        let (name, end) = ENDS[self.stage];
        let span = end - self.began_at();
        self.progress.advance(name, self.began_at() + span * done.min(total) / total.max(1), WHOLE);
    }

    /// This stage is over, and the next one runs.
    pub(crate) fn next(&mut self) {
        let end = ENDS[self.stage].1;
        self.stage = (self.stage + 1).min(ENDS.len() - 1);
        self.progress.advance(ENDS[self.stage].0, end, WHOLE);
    }
}
