//! The jobs in memory with every index that is derived from them. There are two books: the writer's draft, ahead by
//! the changes of the batch it is about to commit, and the published one, which readers see and which holds only what
//! is durable. Both change by [`Book::set`] alone, so no index can disagree with the records.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BlobKey, Counts, Job, LeaseToken, State};

/// A job document as it is stored, and what only the running process needs to know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its place in the order of submission; kept when an interrupted job goes back to the queue.
    pub(super) seq: u64,
    /// The job.
    pub(super) job: Job,
    /// Whether the job has expired and only its files are kept.
    #[serde(default)]
    pub(super) faded: bool,
    /// The claim it is leased under. Not stored: no lease outlives the process.
    #[serde(skip)]
    pub(super) claim: Option<Uuid>,
}

impl Record {
    /// Whether its time is over at `now` (unix ms).
    pub(super) fn expired(&self, now: u64) -> bool {
        self.job.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether its files' time is over at `now` (unix ms).
    pub(super) fn files_expired(&self, now: u64) -> bool {
        self.job.files_expire_at.is_some_and(|at| at <= now)
    }

    /// When there is something to be done about its age.
    fn due(&self) -> Option<u64> {
        if self.faded { self.job.files_expire_at } else { self.job.expires_at }
    }

    /// Whether `token` is the proof of the claim it is leased under.
    pub(super) fn held_by(&self, token: &LeaseToken) -> bool {
        self.job.state == State::Processing && self.claim == Some(token.claim)
    }

    fn blobs(&self) -> impl Iterator<Item = &BlobKey> {
        self.job.inputs.iter().chain(&self.job.outputs)
    }
}

/// Records and indices.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    records: HashMap<Uuid, Arc<Record>>,
    queue: BTreeMap<u64, Uuid>,
    running: BTreeSet<Uuid>,
    expiry: BTreeSet<(u64, Uuid)>,
    outputs: HashMap<BlobKey, Uuid>,
    /// How many jobs name a file.
    named: HashMap<BlobKey, usize>,
    counts: Counts,
}

impl Book {
    /// Puts or removes (`None`) the record of `id` and returns the one before: setting that again undoes the change.
    pub(super) fn set(&mut self, id: Uuid, record: Option<Arc<Record>>) -> Option<Arc<Record>> {
        let before = match &record {
            Some(record) => self.records.insert(id, Arc::clone(record)),
            None => self.records.remove(&id),
        };
        if let Some(before) = &before {
            self.unlist(before);
        }
        if let Some(record) = &record {
            self.list(record);
        }
        before
    }

    fn list(&mut self, record: &Record) {
        let job = &record.job;
        match job.state {
            State::Queued => _ = self.queue.insert(record.seq, job.id),
            State::Processing => _ = self.running.insert(job.id),
            State::Completed => self.outputs.extend(job.outputs.iter().map(|key| (key.clone(), job.id))),
            State::Failed => {}
        }
        if let Some(at) = record.due() {
            self.expiry.insert((at, job.id));
        }
        for key in record.blobs() {
            *self.named.entry(key.clone()).or_default() += 1;
        }
        if !record.faded {
            *self.count_of(job.state) += 1;
        }
    }

    fn unlist(&mut self, record: &Record) {
        let job = &record.job;
        self.queue.remove(&record.seq);
        self.running.remove(&job.id);
        if let Some(at) = record.due() {
            self.expiry.remove(&(at, job.id));
        }
        for key in &job.outputs {
            if self.outputs.get(key) == Some(&job.id) {
                self.outputs.remove(key);
            }
        }
        for key in record.blobs() {
            if let Some(times) = self.named.get_mut(key) {
                *times -= 1;
                if *times == 0 {
                    self.named.remove(key);
                }
            }
        }
        if !record.faded {
            *self.count_of(job.state) -= 1;
        }
    }

    fn count_of(&mut self, state: State) -> &mut usize {
        match state {
            State::Queued => &mut self.counts.queued,
            State::Processing => &mut self.counts.processing,
            State::Completed => &mut self.counts.completed,
            State::Failed => &mut self.counts.failed,
        }
    }

    /// The record of `id`, expired or not.
    pub(super) fn get(&self, id: Uuid) -> Option<&Arc<Record>> {
        self.records.get(&id)
    }

    /// The COMPLETED job that made the file.
    pub(super) fn by_output(&self, key: &BlobKey) -> Option<&Arc<Record>> {
        self.records.get(self.outputs.get(key)?)
    }

    /// The waiting job that was submitted first.
    pub(super) fn oldest_queued(&self) -> Option<&Arc<Record>> {
        self.records.get(self.queue.first_key_value()?.1)
    }

    /// How many waiting jobs were submitted before this waiting one.
    pub(super) fn position(&self, id: Uuid) -> Option<usize> {
        let record = self.records.get(&id).filter(|record| record.job.state == State::Queued)?;
        Some(self.queue.range(..record.seq).count())
    }

    /// The job whose time, or whose files' time, is over first, if it is over at `now`.
    pub(super) fn first_due(&self, now: u64) -> Option<Uuid> {
        self.expiry.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// The jobs in workers' hands.
    pub(super) fn running(&self) -> impl Iterator<Item = Uuid> {
        self.running.iter().copied()
    }

    /// Whether any job names the file.
    pub(super) fn names(&self, key: &BlobKey) -> bool {
        self.named.contains_key(key)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// A place behind all there are.
    pub(super) fn next_seq(&self) -> u64 {
        self.records.values().map(|record| record.seq + 1).max().unwrap_or(0)
    }
}
