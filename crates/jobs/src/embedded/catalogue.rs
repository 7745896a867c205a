//! What jobs are found by besides their ids: their clients' idempotency keys, the order of submission, and that of completion.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::index::Record;
use crate::{Place, State};

/// Jobs by what else is known of them. Deposits and tombstones are not in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    clients: HashMap<String, Client>,
    /// By the moment of their end.
    completed: BTreeSet<(u64, Uuid)>,
}

/// One client's.
#[derive(Clone, Debug, Default)]
struct Client {
    submitted: BTreeSet<Place>,
    keys: HashMap<String, Uuid>,
}

impl Catalogue {
    pub(super) fn list(&mut self, record: &Record) {
        if record.deposit || record.tombstone {
            return;
        }
        let job = &record.job;
        let client = self.clients.entry(job.client.clone()).or_default();
        client.submitted.insert(job.place());
        if let Some(idempotency) = &job.idempotency {
            client.keys.insert(idempotency.key.clone(), job.id);
        }
        if job.state == State::Completed {
            self.completed.insert((job.finished_at.unwrap_or(0), job.id));
        }
    }

    pub(super) fn unlist(&mut self, record: &Record) {
        let job = &record.job;
        self.completed.remove(&(job.finished_at.unwrap_or(0), job.id));
        let Some(client) = self.clients.get_mut(&job.client) else { return };
        client.submitted.remove(&job.place());
        // A later job may have the key of one that has expired.
        if let Some(idempotency) = &job.idempotency
            && client.keys.get(&idempotency.key) == Some(&job.id)
        {
            client.keys.remove(&idempotency.key);
        }
        if client.submitted.is_empty() {
            self.clients.remove(&job.client);
        }
    }

    /// The job that a client submitted under this key.
    pub(super) fn by_idempotency_key(&self, client: &str, key: &str) -> Option<Uuid> {
        self.clients.get(client)?.keys.get(key).copied()
    }

    /// A client's jobs behind a place, or all.
    pub(super) fn newest_first(&self, client: &str, after: Option<Place>) -> impl Iterator<Item = Uuid> {
        let end = after.unwrap_or(Place { submitted_at: u64::MAX, id: Uuid::max() });
        let jobs = self.clients.get(client).map(|client| client.submitted.range(..end).rev());
        jobs.into_iter().flatten().map(|place| place.id)
    }

    /// Everybody's completed jobs, the latest first.
    pub(super) fn latest_completed(&self) -> impl Iterator<Item = Uuid> {
        self.completed.iter().rev().map(|(_, id)| *id)
    }
}
