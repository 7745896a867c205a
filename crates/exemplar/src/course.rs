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
    /// Regions that are painted, and how many there are.
    region: usize,
    regions: usize,
}

impl<'a> Course<'a> {
    /// Nothing is done yet of `regions`, each of which goes through all stages.
    pub(crate) fn start(progress: &'a dyn Progress, regions: usize) -> Self {
        progress.advance(ENDS[0].0, 0, WHOLE);
        Self { progress, stage: 0, region: 0, regions: regions.max(1) }
    }

    fn tell(&self, done: usize) {
        let all = (self.region * WHOLE + done) / self.regions;
        self.progress.advance(ENDS[self.stage].0, all.min(WHOLE), WHOLE);
    }

    fn began_at(&self) -> usize {
        self.stage.checked_sub(1).map_or(0, |before| ENDS[before].1)
    }

    /// `done` of `total` equal parts of this stage are over.
    pub(crate) fn part(&self, done: usize, total: usize) {
        let span = ENDS[self.stage].1 - self.began_at();
        self.tell(self.began_at() + span * done.min(total) / total.max(1));
    }

    /// This stage is over, and the next one runs.
    pub(crate) fn next(&mut self) {
        let end = ENDS[self.stage].1;
        if self.stage + 1 < ENDS.len() {
            self.stage += 1;
            self.tell(end);
        } else {
            self.skip();
        }
    }

    /// This region is over, and the next one begins.
    pub(crate) fn skip(&mut self) {
        if self.region + 1 < self.regions {
            (self.region, self.stage) = (self.region + 1, 0);
            self.tell(0);
        } else {
            self.stage = ENDS.len() - 1;
            self.tell(WHOLE);
        }
    }
}
