//! How far a transfer is, by the clock: each stage counts for the time that it took last time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Progress;

/// What a whole transfer is counted in.
const WHOLE: f64 = 1000.0;

/// The stages of a transfer, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Mask,
    Depth,
    Lineart,
    Start,
    Encode,
    Text,
    Material,
    Unet,
    Sample,
    Decode,
}

/// Their names, and how long each takes before anything was measured, in calls of the UNet (`sample`: one of them). Between
/// what two cores and an H200 take, which differ by up to ten: docs/sdxl.md, docs/gpu.md.
const STAGES: [(&str, f64); 10] = [
    ("mask", 0.5),
    ("depth", 1.8),
    ("lineart", 0.5),
    ("start", 6.0),
    ("encode", 0.5),
    ("text", 0.4),
    ("material", 0.8),
    ("unet", 0.5),
    ("sample", 1.0),
    ("decode", 0.5),
];

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        STAGES[self as usize].0
    }
}

/// What each stage took when an engine last went through it; of `sample`, one call.
pub(crate) struct Pace(Mutex<[f64; STAGES.len()]>);

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(STAGES.map(|(_, calls)| calls)))
    }
}

impl Pace {
    /// Goes by `laps`, a finished transfer's, from now on. A stage that was left out keeps its share of all others.
    pub(super) fn learn(&self, laps: &[(&'static str, Duration)], calls: usize) {
        let mut costs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = STAGES.map(|(name, _)| {
            let seconds = laps.iter().find(|(lap, _)| *lap == name)?.1.as_secs_f64();
            Some(if name == Stage::Sample.name() { seconds / calls.max(1) as f64 } else { seconds })
        });
        let before: f64 = measured.iter().zip(costs.iter()).filter_map(|(new, old)| new.map(|_| old)).sum();
        let now: f64 = measured.iter().flatten().sum();
        if before <= 0.0 || now <= 0.0 {
            return;
        }
        for (cost, measured) in costs.iter_mut().zip(measured) {
            *cost = measured.unwrap_or(*cost * now / before);
        }
    }
}

/// Tells a [`Progress`] of every stage that begins, and of every call while it samples.
pub(super) struct Course<'a> {
    progress: &'a dyn Progress,
    /// What each stage of this transfer will take; nothing, if it is left out.
    costs: [f64; STAGES.len()],
}

impl<'a> Course<'a> {
    /// A transfer of `calls` calls of the UNet that leaves out the stages of `without`.
    pub(super) fn new(progress: &'a dyn Progress, pace: &Pace, calls: usize, without: &[Stage]) -> Self {
        let mut costs = *pace.0.lock().unwrap_or_else(PoisonError::into_inner);
        costs[Stage::Sample as usize] *= calls as f64;
        for stage in without {
            costs[*stage as usize] = 0.0;
        }
        Self { progress, costs }
    }

    /// The stage runs, and `done` of `of` equal parts of it are over.
    pub(super) fn part(&self, stage: Stage, done: usize, of: usize) {
        let at = stage as usize;
        let before: f64 = self.costs[..at].iter().sum();
        let now = self.costs[at] * done.min(of) as f64 / of.max(1) as f64;
        let share = (before + now) / self.costs.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        self.progress.advance(stage.name(), (share * WHOLE).round() as usize, WHOLE as usize);
    }
}

/// The progress of an engine whose whole transfer is one stage of this one.
pub(super) struct Within<'a>(pub(super) &'a Course<'a>, pub(super) Stage);

impl Progress for Within<'_> {
    fn advance(&self, _: &'static str, done: usize, total: usize) {
        self.0.part(self.1, done, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<(&'static str, usize)>>);

    impl Progress for Told {
        fn advance(&self, stage: &'static str, done: usize, _: usize) {
            self.0.lock().expect("unpoisoned").push((stage, done));
        }
    }

    fn lap(stage: Stage, seconds: u64) -> (&'static str, Duration) {
        (stage.name(), Duration::from_secs(seconds))
    }

    #[test]
    fn the_second_transfer_goes_by_the_clock_of_the_first() {
        let pace = Pace::default();
        let rest = [Stage::Encode, Stage::Text, Stage::Material, Stage::Unet].map(|stage| lap(stage, 0));
        let first = [lap(Stage::Mask, 10), lap(Stage::Sample, 20), lap(Stage::Decode, 10)];
        pace.learn(&[&first[..], &rest[..]].concat(), 4);
        let told = Told::default();
        let without = [Stage::Depth, Stage::Lineart, Stage::Start];
        let course = Course::new(&told, &pace, 16, &without);
        for (stage, done, of) in
            [(Stage::Mask, 0, 1), (Stage::Sample, 0, 16), (Stage::Sample, 8, 16), (Stage::Decode, 0, 1)]
        {
            course.part(stage, done, of);
        }
        course.part(Stage::Decode, 1, 1);
        // 10 s, 16 calls of 5 s, 10 s.
        let want = [("mask", 0), ("sample", 100), ("sample", 500), ("decode", 900), ("decode", 1000)];
        assert_eq!(*told.0.lock().expect("unpoisoned"), want);
    }

    #[test]
    fn a_stage_that_was_left_out_keeps_its_share() {
        let pace = Pace::default();
        let before = *pace.0.lock().expect("unpoisoned");
        pace.learn(&[lap(Stage::Sample, 7)], 1);
        let after = *pace.0.lock().expect("unpoisoned");
        assert!((after[Stage::Depth as usize] - 7.0 * before[Stage::Depth as usize]).abs() < 1e-9);
        pace.learn(&[], 1);
        assert_eq!(*pace.0.lock().expect("unpoisoned"), after, "nothing was learnt");
    }
}
