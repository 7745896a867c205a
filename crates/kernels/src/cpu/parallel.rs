//! One loop over independent tasks on rayon's global pool.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sizes the one pool on whose threads everything computes: `count` of them. To be called before anything computes, else
/// the pool has its usual size, one thread a processor (or `RAYON_NUM_THREADS`).
///
/// # Errors
/// When the pool is there already.
pub fn set_threads(count: NonZeroUsize) -> candle_core::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(count.get()).build_global().map_err(candle_core::Error::wrap)
}

/// Threads of the pool.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads().max(1)
}

/// Runs `work(i)` for every `i < tasks`. Threads take the next task when they are done with one, in order, so that cores
/// that other programs slow down get less to do.
pub(crate) fn each(tasks: usize, work: impl Fn(usize) + Sync) {
    let threads = threads().min(tasks);
    if threads <= 1 {
        (0..tasks).for_each(work);
        return;
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            work(task);
        }
    };
    // In place: the calling thread works too, instead of being woken when another has done so.
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| worker());
        }
        worker();
    });
}

/// `len` cut into equal runs of at most about `target`, each but the last a multiple of `unit`: the length of a run.
pub(crate) fn even(len: usize, target: usize, unit: usize) -> usize {
    let runs = len.div_ceil(target.max(1)).max(1);
    len.div_ceil(runs).next_multiple_of(unit.max(1)).max(unit.max(1))
}
