//! The transitions of a job, on the writer's draft. Each checks first and changes afterwards, so a refused one leaves
//! nothing behind; [`Draft`] remembers what was there, so a batch whose commit fails is undone as a whole.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use uuid::Uuid;

use super::{
    book::{Book, Record},
    pulse::Pulses,
    shelf::Shelf,
};
use crate::{
    BlobKey, CANCELLED, CancelOutcome, Claim, Error, INTERRUPTED, Job, LeaseToken, NewJob, Result, State,
    clock::StoreTime,
};

/// What transitions need to know of the world.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) time: Arc<StoreTime>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) pulses: Arc<Pulses>,
    pub(super) queue_limit: usize,
    /// How long a terminal job lives, ms.
    pub(super) result_ttl: u64,
    /// How long its output files live, ms; not less.
    pub(super) file_ttl: u64,
    /// How long a file lives that no job names, ms.
    pub(super) unclaimed_ttl: u64,
}

/// The book ahead of its commit.
pub(super) struct Draft<'a> {
    pub(super) around: &'a Surroundings,
    pub(super) book: &'a mut Book,
    next_seq: &'a mut u64,
    /// The records before, in the order of the changes.
    pub(super) before: Vec<(Uuid, Option<Arc<Record>>)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(around: &'a Surroundings, book: &'a mut Book, next_seq: &'a mut u64) -> Self {
        Self { around, book, next_seq, before: Vec::new() }
    }

    fn set(&mut self, id: Uuid, record: Option<Record>) {
        let before = self.book.set(id, record.map(Arc::new));
        self.before.push((id, before));
    }

    /// The files that were named before this draft and are not any more.
    pub(super) fn unnamed(&self) -> Vec<BlobKey> {
        let before = self.before.iter().filter_map(|(_, record)| record.as_ref());
        let mut keys: Vec<BlobKey> = before
            .flat_map(|record| record.job.inputs.iter().chain(&record.job.outputs))
            .filter(|key| !self.book.names(key))
            .cloned()
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Takes everything back.
    pub(super) fn undo(self) {
        for (id, record) in self.before.into_iter().rev() {
            self.book.set(id, record);
        }
    }

    fn require_stored(&self, keys: &[BlobKey]) -> Result<()> {
        match keys.iter().find(|key| !self.around.shelf.has(key)) {
            Some(key) => Err(Error::MissingBlob { key: key.clone() }),
            None => Ok(()),
        }
    }

    fn held(&self, token: &LeaseToken) -> Result<Record> {
        let record = self.book.get(token.id).filter(|record| record.held_by(token));
        record.map(|record| Record::clone(record)).ok_or(Error::LeaseLost { id: token.id })
    }

    pub(super) fn submit(&mut self, new: NewJob) -> Result<Job> {
        let limit = self.around.queue_limit;
        if self.book.counts().queued >= limit {
            return Err(Error::QueueFull { limit });
        }
        self.require_stored(&new.inputs)?;
        let record = self.fresh(new)?;
        let job = record.job.clone();
        self.set(job.id, Some(record));
        Ok(job)
    }

    pub(super) fn deposit(&mut self, new: NewJob, result: Value, outputs: Vec<BlobKey>) -> Result<Job> {
        self.require_stored(&outputs)?;
        let mut record = self.fresh(new)?;
        record.job.started_at = Some(record.job.submitted_at);
        record.job.result = Some(result);
        record.job.outputs = outputs;
        Ok(self.finish(record, State::Completed))
    }

    /// A waiting job at the end of the queue, not yet in the book.
    fn fresh(&mut self, new: NewJob) -> Result<Record> {
        if self.book.get(new.id).is_some() {
            return Err(Error::Duplicate { id: new.id });
        }
        let job = Job {
            id: new.id,
            owner: new.owner,
            state: State::Queued,
            payload: new.payload,
            inputs: new.inputs,
            submitted_at: self.around.time.now(),
            started_at: None,
            finished_at: None,
            expires_at: None,
            files_expire_at: None,
            retry_count: 0,
            result: None,
            outputs: Vec::new(),
            error: None,
            cancel_requested: false,
        };
        let seq = *self.next_seq;
        *self.next_seq += 1;
        Ok(Record { seq, job, faded: false, claim: None })
    }

    pub(super) fn claim(&mut self, claim: Uuid, lease: Duration) -> Option<Claim> {
        let mut record = Record::clone(self.book.oldest_queued()?);
        record.job.state = State::Processing;
        record.job.started_at = Some(self.around.time.now());
        record.claim = Some(claim);
        let job = record.job.clone();
        self.around.pulses.beat(job.id, self.around.time.steady().saturating_add(lease), 0.0);
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
        record.job.result = Some(result);
        record.job.outputs = outputs;
        self.finish(record, State::Completed);
        Ok(())
    }

    pub(super) fn fail(&mut self, token: &LeaseToken, error: &str) -> Result<()> {
        let record = self.held(token)?;
        self.finish_failed(record, error);
        Ok(())
    }

    pub(super) fn release(&mut self, token: &LeaseToken) -> Result<()> {
        let record = self.held(token)?;
        if record.job.cancel_requested {
            self.finish_failed(record, CANCELLED);
        } else {
            self.requeue(record);
        }
        Ok(())
    }

    /// Gives back what a dropped `claim` call took, if it took anything.
    pub(super) fn abandon(&mut self, claim: Uuid) {
        let taken = self.book.running().find(|id| self.book.get(*id).is_some_and(|r| r.claim == Some(claim)));
        if let Some(id) = taken {
            // It is held by this claim, so there is nothing to refuse.
            let _ = self.release(&LeaseToken { id, claim });
        }
    }

    pub(super) fn cancel(&mut self, id: Uuid) -> CancelOutcome {
        let now = self.around.time.now();
        let Some(record) = self.book.get(id).filter(|record| !record.expired(now)) else {
            return CancelOutcome::Unknown;
        };
        let mut record = Record::clone(record);
        match record.job.state {
            State::Completed | State::Failed => CancelOutcome::AlreadyOver,
            State::Queued => {
                record.job.cancel_requested = true;
                self.finish_failed(record, CANCELLED);
                CancelOutcome::Cancelled
            }
            State::Processing => {
                if !record.job.cancel_requested {
                    record.job.cancel_requested = true;
                    self.set(id, Some(record));
                }
                CancelOutcome::Requested
            }
        }
    }

    pub(super) fn delete(&mut self, id: Uuid) -> bool {
        let now = self.around.time.now();
        let over = |record: &&Arc<Record>| record.job.state.is_terminal() && !record.expired(now);
        let found = self.book.get(id).filter(over).is_some();
        if found {
            self.set(id, None);
        }
        found
    }

    /// Removes the expired jobs, except for files that live longer, and returns how many it touched.
    pub(super) fn expire(&mut self) -> usize {
        let now = self.around.time.now();
        let mut touched = 0;
        while let Some(id) = self.book.first_due(now) {
            let kept = self.book.get(id).filter(|record| !record.files_expired(now) && !record.faded);
            let faded = kept.map(|record| {
                let mut record = Record::clone(record);
                (record.job.payload, record.job.result, record.faded) = (Value::Null, None, true);
                record
            });
            self.set(id, faded);
            touched += 1;
        }
        touched
    }

    /// Interrupts the jobs whose worker has gone silent and returns how many.
    pub(super) fn reclaim(&mut self) -> usize {
        let now = self.around.time.steady();
        let lapsed: Vec<Uuid> =
            self.book.running().filter(|id| !self.around.pulses.alive(*id, now)).collect();
        for id in &lapsed {
            self.interrupt(*id);
        }
        lapsed.len()
    }

    /// At the start: every job in progress has lost its worker.
    pub(super) fn interrupt_all(&mut self) {
        for id in self.book.running().collect::<Vec<_>>() {
            self.interrupt(id);
        }
    }

    fn interrupt(&mut self, id: Uuid) {
        let Some(record) = self.book.get(id) else { return };
        let mut record = Record::clone(record);
        if record.job.cancel_requested {
            return self.finish_failed(record, CANCELLED);
        }
        if record.job.retry_count > 0 {
            tracing::warn!(job = %id, "interrupted for the second time; it fails");
            return self.finish_failed(record, INTERRUPTED);
        }
        tracing::warn!(job = %id, "interrupted; it goes back to the queue");
        record.job.retry_count += 1;
        self.requeue(record);
    }

    /// Back to the old place in the queue.
    fn requeue(&mut self, mut record: Record) {
        record.job.state = State::Queued;
        record.job.started_at = None;
        record.claim = None;
        self.set(record.job.id, Some(record));
    }

    fn finish_failed(&mut self, mut record: Record, error: &str) {
        record.job.error = Some(error.to_owned());
        self.finish(record, State::Failed);
    }

    fn finish(&mut self, mut record: Record, state: State) -> Job {
        let now = self.around.time.now();
        let files = if record.job.outputs.is_empty() { self.around.result_ttl } else { self.around.file_ttl };
        record.job.state = state;
        record.job.finished_at = Some(now);
        record.job.expires_at = Some(now.saturating_add(self.around.result_ttl));
        record.job.files_expire_at = Some(now.saturating_add(files));
        record.job.inputs.clear();
        record.claim = None;
        let job = record.job.clone();
        self.set(job.id, Some(record));
        job
    }

    /// Removes old files that no job names, and none named before this draft (it may yet be undone), and returns how
    /// many. Here, because submissions pass here too: none can name a file while it is removed.
    pub(super) fn collect_orphans(&self) -> usize {
        let shelf = &self.around.shelf;
        let old = shelf.born_before(self.around.time.now().saturating_sub(self.around.unclaimed_ttl));
        let unnamed = self.unnamed();
        let orphans = old.iter().filter(|key| !self.book.names(key) && unnamed.binary_search(key).is_err());
        orphans.filter(|key| shelf.remove(key).is_ok()).count()
    }
}
