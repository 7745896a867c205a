//! Notices in memory, and their transitions.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::transitions::Transaction;
use crate::{Job, Notice, Try};

/// All notices, by job, and those that are pending by when they are due.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    all: HashMap<Uuid, Arc<Notice>>,
    due: BTreeSet<(u64, Uuid)>,
    /// How many are pending of each client.
    pending: HashMap<String, usize>,
}

impl Notices {
    pub(super) fn set(&mut self, id: Uuid, notice: Option<Arc<Notice>>) -> Option<Arc<Notice>> {
        let before = match &notice {
            Some(notice) => self.all.insert(id, Arc::clone(notice)),
            None => self.all.remove(&id),
        };
        if let Some((at, client)) = before.as_ref().and_then(pending) {
            self.due.remove(&(at, id));
            if let Some(count) = self.pending.get_mut(client) {
                *count -= 1;
                if *count == 0 {
                    self.pending.remove(client);
                }
            }
        }
        if let Some((at, client)) = notice.as_ref().and_then(pending) {
            self.due.insert((at, id));
            *self.pending.entry(client.to_owned()).or_default() += 1;
        }
        before
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Arc<Notice>> {
        self.all.get(&id)
    }

    /// How many of a client's are pending.
    pub(super) fn pending_of(&self, client: &str) -> usize {
        self.pending.get(client).copied().unwrap_or(0)
    }

    /// Those whose time has come at `now` (unix ms): at most `each` of a lane, none of the lanes in `busy`.
    pub(super) fn due(&self, now: u64, busy: &[String], each: usize, limit: usize) -> Vec<Arc<Notice>> {
        let mut lanes: HashMap<&str, usize> = HashMap::new();
        let due = self.due.range(..=(now, Uuid::max())).filter_map(|(_, id)| self.all.get(id));
        let free = due.filter(|notice| {
            let Some(webhook) = &notice.job.webhook else { return false };
            let taken = lanes.entry(&webhook.lane).or_default();
            *taken += 1;
            *taken <= each && !busy.contains(&webhook.lane)
        });
        free.take(limit).cloned().collect()
    }
}

/// When a notice is due, and whose it is, if it is pending.
fn pending(notice: &Arc<Notice>) -> Option<(u64, &str)> {
    Some((notice.next_at?, notice.job.client.as_str()))
}

impl Transaction<'_> {
    pub(super) fn set_notice(&mut self, id: Uuid, notice: Option<Notice>) {
        let before = self.index.set_notice(id, notice.map(Arc::new));
        self.before_notices.push((id, before));
    }

    /// Leaves a notice of a job that has just ended, if it wants one.
    pub(super) fn announce(&mut self, job: &Arc<Job>) {
        if let Some(notice) = Notice::of(job, self.context.time.now()) {
            self.set_notice(job.id, Some(notice));
        }
    }

    /// Lets the notice of a job go that has gone, unless it is still to be delivered.
    pub(super) fn drop_spent_notice(&mut self, id: Uuid) {
        if self.index.notices().get(id).is_some_and(|notice| notice.next_at.is_none()) {
            self.set_notice(id, None);
        }
    }

    pub(super) fn note_try(&mut self, id: Uuid, attempt: Try, again: Option<Duration>) {
        let Some(notice) = self.index.notices().get(id) else { return };
        let mut notice = Notice::clone(notice);
        let now = self.context.time.now();
        notice.tries.push(attempt);
        notice.next_at = again.map(|again| now.saturating_add(super::millis(again)));
        let spent = notice.next_at.is_none() && self.index.get(id).is_none();
        self.set_notice(id, if spent { None } else { Some(notice) });
    }
}
