//! The transitions of a job, within the writer's transaction. Each checks first and changes afterwards, so a refused one leaves
//! nothing behind; [`Transaction`] remembers what was there, so a batch whose commit fails is undone as a whole.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use uuid::Uuid;

use super::{
    blob_dir::BlobDir,
    health::Health,
    index::{Index, Record},
    leases::Leases,
    usage::Caps,
};
use crate::{
    BlobKey, CancelOutcome, Claim, Error, Failure, Job, LeaseToken, Notice, Result, State, clock::StoreTime,
};

/// What transitions need besides the records: clock, files, leases, health and limits.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) time: Arc<StoreTime>,
    pub(super) blobs: Arc<BlobDir>,
    pub(super) leases: Arc<Leases>,
    pub(super) health: Arc<Health>,
    /// Bytes on the disk that are left alone.
    pub(super) reserve: u64,
    pub(super) queue_limit: usize,
    /// How many jobs of one client may wait.
    pub(super) queue_limit_each: usize,
    /// What may be kept in all, and for each client; and for each client's uploads, `jobs` of these being files.
    pub(super) caps: Caps,
    pub(super) caps_each: Caps,
    pub(super) caps_deposits: Caps,
    /// How long a terminal job lives, ms.
    pub(super) result_ttl: u64,
    /// How long its output files live, ms; not less.
    pub(super) file_ttl: u64,
    /// How long a file lives that no job names, ms.
    pub(super) unclaimed_ttl: u64,
}

/// The changes of one batch, applied to the writer's index and not yet committed; all can be undone.
pub(super) struct Transaction<'a> {
    pub(super) context: &'a Context,
    pub(super) index: &'a mut Index,
    /// The place of the next submission.
    pub(super) next_seq: &'a mut u64,
    /// The records before, in the order of the changes.
    pub(super) before: Vec<(Uuid, Option<Arc<Record>>)>,
    /// The credits used before, in the order of the changes.
    pub(super) before_used: Vec<(String, Option<u64>)>,
    /// The notices before, in the order of the changes.
    pub(super) before_notices: Vec<(Uuid, Option<Arc<Notice>>)>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(context: &'a Context, index: &'a mut Index, next_seq: &'a mut u64) -> Self {
        Self {
            context,
            index,
            next_seq,
            before: Vec::new(),
            before_used: Vec::new(),
            before_notices: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, id: Uuid, record: Option<Record>) {
        let goes = record.is_none();
        let before = self.index.set(id, record.map(Arc::new));
        self.before.push((id, before));
        if goes {
            self.drop_spent_notice(id);
        }
    }

    pub(super) fn set_used(&mut self, owner: &str, used: u64) {
        let before = self.index.set_used(owner, Some(used));
        self.before_used.push((owner.to_owned(), before));
    }

    /// The files that were named before this transaction and are not any more.
    pub(super) fn unnamed(&self) -> Vec<BlobKey> {
        let before = self.before.iter().filter_map(|(_, record)| record.as_ref());
        let mut keys: Vec<BlobKey> = before
            .flat_map(|record| record.job.inputs.iter().chain(&record.job.outputs))
            .filter(|key| !self.index.names(key))
            .cloned()
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Takes everything back.
    pub(super) fn undo(self) {
        for (id, record) in self.before.into_iter().rev() {
            self.index.set(id, record);
        }
        for (owner, used) in self.before_used.into_iter().rev() {
            self.index.set_used(&owner, used);
        }
        for (id, notice) in self.before_notices.into_iter().rev() {
            self.index.set_notice(id, notice);
        }
    }

    pub(super) fn require_stored(&self, keys: &[BlobKey]) -> Result<()> {
        match keys.iter().find(|key| !self.context.blobs.has(key)) {
            Some(key) => Err(Error::MissingBlob { key: key.clone() }),
            None => Ok(()),
        }
    }

    fn held(&self, token: &LeaseToken) -> Result<Record> {
        let record = self.index.get(token.id).filter(|record| record.held_by(token));
        record.map(|record| Record::clone(record)).ok_or(Error::LeaseLost { id: token.id })
    }

    /// The waiting job of that id that still wants inputs.
    fn wanting(&self, id: Uuid) -> Option<Record> {
        let waits = |record: &&Arc<Record>| record.job.state == State::Queued && record.job.wanting;
        self.index.get(id).filter(waits).map(|record| Record::clone(record))
    }

    pub(super) fn supply(
        &mut self,
        id: Uuid,
        payload: Value,
        inputs: Vec<BlobKey>,
        cost: u64,
    ) -> Result<bool> {
        let Some(mut record) = self.wanting(id) else { return Ok(false) };
        self.require_stored(&inputs)?;
        let job = record.job_mut();
        (job.payload, job.inputs, job.cost, job.wanting) = (payload, inputs, cost, false);
        self.set(id, Some(record));
        Ok(true)
    }

    pub(super) fn refuse(&mut self, id: Uuid, failure: Failure) -> bool {
        let waits = |record: &&Arc<Record>| record.job.state == State::Queued;
        let record = self.index.get(id).filter(waits).map(|record| Record::clone(record));
        let found = record.is_some();
        if let Some(record) = record {
            self.finish_failed(record, failure);
        }
        found
    }

    /// Notes what owners have used elsewhere.
    pub(super) fn adopt(&mut self, used: Vec<(String, u64)>) {
        for (owner, used) in used {
            self.set_used(&owner, used);
        }
    }

    pub(super) fn claim(&mut self, most: u64, claim: Uuid, lease: Duration) -> Option<Claim> {
        // What could not be ended is better not begun.
        if self.context.health.trouble().is_some() {
            return None;
        }
        let mut record = Record::clone(self.index.next_up(most)?);
        record.claim = Some(claim);
        record.service = Some(self.index.service_of(&record.job));
        let now = self.context.time.now();
        let job = record.job_mut();
        job.state = State::Processing;
        job.started_at = Some(now);
        let job = Arc::clone(&record.job);
        self.context.leases.beat(job.id, self.context.time.steady().saturating_add(lease), 0.0);
        self.set(job.id, Some(record));
        Some(Claim { token: LeaseToken { id: job.id, claim }, job })
    }

    pub(super) fn complete(
        &mut self,
        token: &LeaseToken,
        result: Value,
        outputs: Vec<BlobKey>,
    ) -> Result<()> {
        let mut record = self.held(token)?;
        self.require_stored(&outputs)?;
        let job = record.job_mut();
        job.result = Some(result);
        job.outputs = outputs;
        self.finish(record, State::Completed);
        Ok(())
    }

    pub(super) fn fail(&mut self, token: &LeaseToken, failure: Failure) -> Result<()> {
        let record = self.held(token)?;
        self.finish_failed(record, failure);
        Ok(())
    }

    pub(super) fn release(&mut self, token: &LeaseToken) -> Result<()> {
        let record = self.held(token)?;
        if record.job.cancel_requested {
            self.finish_failed(record, Failure::cancelled());
        } else {
            self.requeue(record);
        }
        Ok(())
    }

    /// Gives back what a dropped `claim` call took, if it took anything.
    pub(super) fn abandon(&mut self, claim: Uuid) {
        let taken =
            self.index.running().find(|id| self.index.get(*id).is_some_and(|r| r.claim == Some(claim)));
        if let Some(id) = taken {
            // It is held by this claim, so there is nothing to refuse.
            let _ = self.release(&LeaseToken { id, claim });
        }
    }

    pub(super) fn cancel(&mut self, id: Uuid) -> CancelOutcome {
        let now = self.context.time.now();
        let Some(record) = self.index.get(id).filter(|record| !record.gone(now)) else {
            return CancelOutcome::Unknown;
        };
        let mut record = Record::clone(record);
        match record.job.state {
            State::Completed | State::Failed => CancelOutcome::AlreadyOver,
            State::Queued => {
                record.job_mut().cancel_requested = true;
                self.finish_failed(record, Failure::cancelled());
                CancelOutcome::Cancelled
            }
            State::Processing => {
                if !record.job.cancel_requested {
                    record.job_mut().cancel_requested = true;
                    self.set(id, Some(record));
                }
                CancelOutcome::Requested
            }
        }
    }

    pub(super) fn delete(&mut self, id: Uuid) -> bool {
        let now = self.context.time.now();
        let Some(record) = self.index.get(id).filter(|record| !record.gone(now)) else { return false };
        let mut record = Record::clone(record);
        if record.job.state.is_terminal() {
            self.set(id, None);
            if self.index.notices().get(id).is_some() {
                self.set_notice(id, None);
            }
            return true;
        }
        let job = record.job_mut();
        (job.cancel_requested, job.discarded) = (true, true);
        if job.state == State::Queued {
            self.finish_failed(record, Failure::cancelled());
        } else {
            self.set(id, Some(record));
        }
        true
    }

    /// Removes the expired jobs, except for files that live longer, and returns how many it touched.
    pub(super) fn expire(&mut self) -> usize {
        let now = self.context.time.now();
        let mut touched = 0;
        while let Some(id) = self.index.first_due(now) {
            let held = self.index.get(id).filter(|record| !record.files_expired(now) && !record.tombstone);
            let tombstone = held.map(|record| {
                let mut record = Record::clone(record);
                record.tombstone = true;
                (record.job_mut().payload, record.job_mut().result) = (Value::Null, None);
                record.weigh();
                record
            });
            self.set(id, tombstone);
            touched += 1;
        }
        touched
    }

    /// Interrupts the jobs whose worker has gone silent and returns how many.
    pub(super) fn reclaim(&mut self) -> usize {
        let now = self.context.time.steady();
        let lapsed: Vec<Uuid> =
            self.index.running().filter(|id| !self.context.leases.alive(*id, now)).collect();
        for id in &lapsed {
            self.interrupt(*id);
        }
        lapsed.len()
    }

    /// At the start: every job in progress has lost its worker.
    pub(super) fn interrupt_all(&mut self) {
        for id in self.index.running().collect::<Vec<_>>() {
            self.interrupt(id);
        }
    }

    fn interrupt(&mut self, id: Uuid) {
        let Some(record) = self.index.get(id) else { return };
        let mut record = Record::clone(record);
        if record.job.cancel_requested {
            self.finish_failed(record, Failure::cancelled());
            return;
        }
        if record.job.retry_count > 0 {
            tracing::warn!(job = %id, "interrupted for the second time; it fails");
            self.finish_failed(record, Failure::interrupted());
            return;
        }
        tracing::warn!(job = %id, "interrupted; it goes back to the queue");
        record.job_mut().retry_count += 1;
        self.requeue(record);
    }

    /// Back to the old place in the queue.
    fn requeue(&mut self, mut record: Record) {
        let job = record.job_mut();
        job.state = State::Queued;
        job.started_at = None;
        record.claim = None;
        self.set(record.job.id, Some(record));
    }

    fn finish_failed(&mut self, mut record: Record, failure: Failure) -> Arc<Job> {
        record.job_mut().failure = Some(failure);
        self.finish(record, State::Failed)
    }

    /// Ends a job. In the same step a failed one gives its credit back, so that no crash can come in between, and one that was
    /// deleted while it ran goes.
    pub(super) fn finish(&mut self, mut record: Record, state: State) -> Arc<Job> {
        let now = self.context.time.now();
        let outputs = &record.job.outputs;
        let files = if outputs.is_empty() { self.context.result_ttl } else { self.context.file_ttl };
        record.output_bytes = self.context.blobs.bytes_of(outputs);
        record.claim = None;
        if state == State::Failed && record.job.charged {
            let used = self.index.used(&record.job.owner).unwrap_or(0);
            self.set_used(&record.job.owner, used.saturating_sub(1));
            record.job_mut().charged = false;
        }
        let job = record.job_mut();
        job.state = state;
        job.finished_at = Some(now);
        job.expires_at = Some(now.saturating_add(self.context.result_ttl));
        job.files_expire_at = Some(now.saturating_add(files));
        job.inputs.clear();
        job.wanting = false;
        // What was to be done is of no more use, and may be long.
        job.payload = Value::Null;
        record.weigh();
        let job = Arc::clone(&record.job);
        self.set(job.id, Some(record));
        self.announce(&job);
        if job.discarded {
            self.set(job.id, None);
        }
        job
    }

    /// Removes old files that no job names, and none named before this transaction (it may yet be undone), and returns how
    /// many. Here, because submissions pass here too: none can name a file while it is removed.
    pub(super) fn collect_orphans(&self) -> usize {
        // On a sick disk a finished job waits for its end to be noted, and its files have no name yet.
        if self.context.health.trouble().is_some() {
            return 0;
        }
        let blobs = &self.context.blobs;
        let old = blobs.born_before(self.context.time.now().saturating_sub(self.context.unclaimed_ttl));
        let unnamed = self.unnamed();
        let orphans = old.iter().filter(|key| !self.index.names(key) && unnamed.binary_search(key).is_err());
        orphans.filter(|key| blobs.remove(key).is_ok()).count()
    }
}
