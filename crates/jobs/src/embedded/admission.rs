//! How jobs come in: what has to be true for one to be accepted, and what goes to make room for it.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{index::Record, transitions::Transaction};
use crate::{BlobKey, Error, Job, NewJob, PENDING_NOTICES, Result, State};

impl Transaction<'_> {
    pub(super) fn submit(&mut self, new: NewJob) -> Result<Arc<Job>> {
        if let Some(job) = self.submitted_before(&new)? {
            return Ok(job);
        }
        self.context.health.require(&self.context.blobs, self.context.reserve)?;
        let (limit, each) = (self.context.queue_limit, self.context.queue_limit_each);
        if self.index.counts().queued >= limit {
            return Err(Error::QueueFull { limit });
        }
        if self.index.waiting_of(client_of(&new)) >= each {
            return Err(Error::ClientFull { limit: each });
        }
        if new.webhook.is_some() && self.index.notices().pending_of(client_of(&new)) >= PENDING_NOTICES {
            let what = "as many webhooks of this client as may be are still to be delivered";
            return Err(Error::Kept { what, wait: Duration::from_secs(60) });
        }
        self.require_stored(&new.inputs)?;
        self.make_room(client_of(&new))?;
        let used = self.index.used(&new.owner).unwrap_or(0);
        if new.credits.is_some_and(|credits| used >= credits) {
            return Err(Error::Exhausted { owner: new.owner });
        }
        let record = self.fresh(new)?;
        let job = Arc::clone(&record.job);
        if job.charged {
            self.set_used(&job.owner, used + 1);
        }
        self.set(job.id, Some(record));
        Ok(job)
    }

    /// The job that its client has submitted under the same idempotency key.
    fn submitted_before(&self, new: &NewJob) -> Result<Option<Arc<Job>>> {
        let Some(given) = &new.idempotency else { return Ok(None) };
        let now = self.context.time.now();
        let record = self.index.by_idempotency_key(client_of(new), &given.key);
        match record.filter(|record| !record.gone(now)).map(|record| &record.job) {
            Some(job) if job.idempotency.as_ref() == Some(given) => Ok(Some(Arc::clone(job))),
            Some(job) => Err(Error::KeyReused { id: job.id }),
            None => Ok(None),
        }
    }

    pub(super) fn deposit(
        &mut self,
        mut new: NewJob,
        result: Value,
        outputs: Vec<BlobKey>,
    ) -> Result<Arc<Job>> {
        self.context.health.require(&self.context.blobs, self.context.reserve)?;
        self.require_stored(&outputs)?;
        let client = client_of(&new).to_owned();
        let (deposits, caps) = (self.index.usage().deposits(&client), &self.context.caps_deposits);
        let bytes = self.context.blobs.bytes_of(&outputs);
        if deposits.jobs + outputs.len() > caps.jobs || deposits.files + bytes > caps.files {
            return Err(self.too_much("as many uploads of this client are kept as may be", Some(&client)));
        }
        self.make_room(&client)?;
        new.credits = None;
        let mut record = self.fresh(new)?;
        record.deposit = true;
        let job = record.job_mut();
        job.started_at = Some(job.submitted_at);
        job.result = Some(result);
        job.outputs = outputs;
        Ok(self.finish(record, State::Completed))
    }

    /// Lets the oldest failed jobs go where as much is kept as may be: the client's own for its own limit, those of the
    /// client that has the most for everybody's. Results are never driven out; if there is nothing else, it is an error.
    fn make_room(&mut self, client: &str) -> Result<()> {
        while let Some(what) = self.index.usage().results(client).reaches(&self.context.caps_each) {
            match self.index.usage().oldest_failed(client) {
                Some(id) => self.set(id, None),
                None => return Err(self.too_much(what, Some(client))),
            }
        }
        while let Some(what) = self.index.usage().all().reaches(&self.context.caps) {
            let usage = self.index.usage();
            match usage.most_failed().and_then(|client| usage.oldest_failed(client)) {
                Some(id) => self.set(id, None),
                None => return Err(self.too_much(what, None)),
            }
        }
        Ok(())
    }

    fn too_much(&self, what: &'static str, client: Option<&str>) -> Error {
        let end = self.index.usage().first_end(client).unwrap_or(0);
        let wait = end.saturating_sub(self.context.time.now()).max(1000);
        Error::Kept { what, wait: Duration::from_millis(wait) }
    }

    /// A waiting job at the end of the queue, not yet in the index.
    fn fresh(&mut self, new: NewJob) -> Result<Record> {
        if self.index.get(new.id).is_some() {
            return Err(Error::Duplicate { id: new.id });
        }
        let job = Job::queued(new, self.context.time.now());
        let seq = *self.next_seq;
        *self.next_seq += 1;
        Ok(Record::new(seq, job))
    }
}

/// Whose turn a new job takes.
fn client_of(new: &NewJob) -> &str {
    if new.client.is_empty() { &new.owner } else { &new.client }
}
