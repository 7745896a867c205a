//! The jobs in memory with every index that is derived from them. There are two of them: the writer's, ahead by
//! the changes of the batch it is about to commit, and the published one, which readers see and which holds only what
//! is durable. Both change by [`Index::set`] alone, so no index can disagree with the records.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    catalogue::Catalogue,
    fair_queue::{FairQueue, Service},
    notices::Notices,
    usage::Usage,
};
use crate::{BlobKey, Counts, Job, LeaseToken, Listing, Notice, State};

/// A job document as it is stored, and what only the running process needs to know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its place in the order of submission; kept when an interrupted job goes back to the queue.
    pub(super) seq: u64,
    /// The job. Whoever asks for it shares it.
    #[serde(with = "crate::shared")]
    pub(super) job: Arc<Job>,
    /// Whether the job has expired and only its files are kept.
    #[serde(default, rename = "faded")]
    pub(super) tombstone: bool,
    /// Whether it never was any work, but files to be kept.
    #[serde(default)]
    pub(super) deposit: bool,
    /// The bytes of its output files.
    #[serde(default)]
    pub(super) output_bytes: u64,
    /// The bytes of its document, once it is over.
    #[serde(skip)]
    pub(super) document_bytes: u64,
    /// What its last claim was of its client's share. Not stored: sharing begins anew with each process.
    #[serde(skip)]
    pub(super) service: Option<Service>,
    /// The claim it is leased under. Not stored: no lease outlives the process.
    #[serde(skip)]
    pub(super) claim: Option<Uuid>,
}

impl Record {
    /// A record of a job that is new here.
    pub(super) fn new(seq: u64, job: Job) -> Self {
        let job = Arc::new(job);
        let (tombstone, deposit, claim, service) = (false, false, None, None);
        Self { seq, job, tombstone, deposit, output_bytes: 0, document_bytes: 0, service, claim }
    }

    /// Puts a record that was read in order: whose turn it is was not noted once, what is over once kept its payload.
    pub(super) fn settle(&mut self) {
        if self.job.client.is_empty() {
            let owner = self.job.owner.clone();
            self.job_mut().client = owner;
        }
        if self.job.state.is_terminal() {
            if !self.job.payload.is_null() {
                self.job_mut().payload = Value::Null;
            }
            self.weigh();
        }
    }

    /// Notes how long the document of a job is that is over.
    pub(super) fn weigh(&mut self) {
        // Nothing in it can fail to be written; if something could, its weight would not matter.
        self.document_bytes = serde_json::to_vec(&*self.job).map_or(0, |document| document.len() as u64);
    }

    /// Whether its time is over at `now` (unix ms).
    pub(super) fn expired(&self, now: u64) -> bool {
        self.job.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether nobody may see it any more at `now` (unix ms).
    pub(super) fn gone(&self, now: u64) -> bool {
        self.expired(now) || self.job.discarded
    }

    /// Whether its files' time is over at `now` (unix ms).
    pub(super) fn files_expired(&self, now: u64) -> bool {
        self.job.files_expire_at.is_some_and(|at| at <= now)
    }

    /// When there is something to be done about its age.
    fn due(&self) -> Option<u64> {
        if self.tombstone { self.job.files_expire_at } else { self.job.expires_at }
    }

    /// Whether `token` is the proof of the claim it is leased under.
    pub(super) fn held_by(&self, token: &LeaseToken) -> bool {
        self.job.state == State::Processing && self.claim == Some(token.claim)
    }

    /// The job, to be changed.
    pub(super) fn job_mut(&mut self) -> &mut Job {
        Arc::make_mut(&mut self.job)
    }

    fn blobs(&self) -> impl Iterator<Item = &BlobKey> {
        self.job.inputs.iter().chain(&self.job.outputs)
    }
}

/// Records and indices.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    records: HashMap<Uuid, Arc<Record>>,
    fair_queue: FairQueue,
    running: BTreeSet<Uuid>,
    /// Running jobs that were interrupted before.
    suspects: usize,
    usage: Usage,
    catalogue: Catalogue,
    notices: Notices,
    /// How many credits each owner has used.
    used: HashMap<String, u64>,
    expiry: BTreeSet<(u64, Uuid)>,
    outputs: HashMap<BlobKey, Uuid>,
    /// How many jobs name a file.
    named: HashMap<BlobKey, usize>,
    counts: Counts,
}

impl Index {
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
            State::Queued => self.fair_queue.insert(record),
            State::Processing => {
                self.running.insert(job.id);
                self.suspects += usize::from(job.retry_count > 0);
                self.fair_queue.served(&job.client, record.service);
            }
            State::Completed => self.outputs.extend(job.outputs.iter().map(|key| (key.clone(), job.id))),
            State::Failed => {}
        }
        if let Some(at) = record.due() {
            self.expiry.insert((at, job.id));
        }
        for key in record.blobs() {
            *self.named.entry(key.clone()).or_default() += 1;
        }
        if !record.tombstone && !job.discarded {
            *self.count_of(job.state) += 1;
        }
        self.usage.list(record);
        self.catalogue.list(record);
    }

    fn unlist(&mut self, record: &Record) {
        let job = &record.job;
        self.fair_queue.remove(record);
        if self.running.remove(&job.id) {
            self.suspects -= usize::from(job.retry_count > 0);
        }
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
        if !record.tombstone && !job.discarded {
            *self.count_of(job.state) -= 1;
        }
        self.usage.unlist(record);
        self.catalogue.unlist(record);
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

    /// The job that was submitted under an idempotency key, expired or not.
    pub(super) fn by_idempotency_key(&self, client: &str, key: &str) -> Option<&Arc<Record>> {
        self.records.get(&self.catalogue.by_idempotency_key(client, key)?)
    }

    /// A page of a client's jobs at `now` (unix ms).
    pub(super) fn page(&self, listing: &Listing, now: u64) -> Vec<Arc<Job>> {
        let records = self.catalogue.newest_first(&listing.client, listing.after);
        records
            .filter_map(|id| self.records.get(&id))
            .filter(|record| !record.gone(now) && record.job.owner == listing.owner)
            .filter(|record| listing.state.is_none_or(|state| record.job.state == state))
            .take(listing.limit)
            .map(|record| Arc::clone(&record.job))
            .collect()
    }

    /// How long the jobs took that were completed last, the latest first.
    pub(super) fn recent_runs(&self, limit: usize) -> Vec<Duration> {
        let completed = self.catalogue.latest_completed().filter_map(|id| self.records.get(&id));
        completed.filter_map(|record| record.job.inference_time()).take(limit).collect()
    }

    /// The COMPLETED job that made the file.
    pub(super) fn by_output(&self, key: &BlobKey) -> Option<&Arc<Record>> {
        self.records.get(self.outputs.get(key)?)
    }

    /// The waiting job whose turn it is, among those that cost at most `most`. A job that was interrupted may be what ended
    /// the process, so it runs alone: it waits until nothing runs, and while it waits or runs nothing else is begun.
    pub(super) fn next_up(&self, most: u64) -> Option<&Arc<Record>> {
        if self.suspects > 0 {
            return None;
        }
        let next = self.records.get(&self.fair_queue.next(most)?)?;
        (next.job.retry_count == 0 || self.running.is_empty()).then_some(next)
    }

    /// What a claim of this job is of its client's share.
    pub(super) fn service_of(&self, job: &Job) -> Service {
        self.fair_queue.service_of(&job.client, job.cost)
    }

    /// How many waiting jobs come before this waiting one, as things stand.
    pub(super) fn position(&self, id: Uuid) -> Option<usize> {
        let record = self.records.get(&id).filter(|record| record.job.state == State::Queued)?;
        Some(self.fair_queue.position(record))
    }

    /// The waiting jobs that want inputs, in the order of their turns.
    pub(super) fn wanting(&self) -> Vec<Arc<Job>> {
        let ids = self.fair_queue.wanting();
        ids.iter().filter_map(|id| self.records.get(id)).map(|record| Arc::clone(&record.job)).collect()
    }

    /// How many jobs of a client wait.
    pub(super) fn waiting_of(&self, client: &str) -> usize {
        self.fair_queue.waiting_of(client)
    }

    /// When the job that has waited longest was accepted, unix ms.
    pub(super) fn oldest_waiting(&self) -> Option<u64> {
        self.records.get(&self.fair_queue.first()?).map(|record| record.job.submitted_at)
    }

    /// The ends of jobs that are to be told.
    pub(super) fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Puts or removes the notice of a job, and returns what there was.
    pub(super) fn set_notice(&mut self, id: Uuid, notice: Option<Arc<Notice>>) -> Option<Arc<Notice>> {
        self.notices.set(id, notice)
    }

    /// What is kept for whom.
    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// How many credits an owner has used; `None` if it never used any.
    pub(super) fn used(&self, owner: &str) -> Option<u64> {
        self.used.get(owner).copied()
    }

    /// Puts or removes how many credits an owner has used, and returns what there was.
    pub(super) fn set_used(&mut self, owner: &str, used: Option<u64>) -> Option<u64> {
        match used {
            Some(used) => self.used.insert(owner.to_owned(), used),
            None => self.used.remove(owner),
        }
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
