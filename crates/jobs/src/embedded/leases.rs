//! The leases of running jobs: until when, on the steady clock, and how far the work is. In memory only, because no
//! lease outlives the process, so a heartbeat costs no write.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use uuid::Uuid;

/// What a worker has, once its lease is seen to have lapsed, to show that it lives: all of the process may have stood
/// still. Workers beat twice as often.
const CHANCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Lease {
    deadline: Duration,
    progress: f32,
    /// When the lease was first seen to have lapsed.
    missed: Option<Duration>,
}

/// One lease per running job.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<Uuid, Lease>>);

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the lease and the progress, which is brought into 0..=1 (NaN counts as 0).
    pub(super) fn beat(&self, id: Uuid, deadline: Duration, progress: f32) {
        let progress = if progress.is_nan() { 0.0 } else { progress.clamp(0.0, 1.0) };
        self.lock().insert(id, Lease { deadline, progress, missed: None });
    }

    /// Whether the lease holds at `now`, or lapsed so lately that its worker may not have had its chance to say otherwise.
    pub(super) fn alive(&self, id: Uuid, now: Duration) -> bool {
        let mut leases = self.lock();
        let Some(lease) = leases.get_mut(&id) else { return false };
        if lease.deadline > now {
            return true;
        }
        let missed = *lease.missed.get_or_insert(now);
        now < missed.saturating_add(CHANCE)
    }

    pub(super) fn progress(&self, id: Uuid) -> Option<f32> {
        self.lock().get(&id).map(|lease| lease.progress)
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.lock().remove(&id);
    }
}
