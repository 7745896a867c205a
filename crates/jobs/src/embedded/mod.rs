//! The home on one machine: documents in `DIR/jobs.redb`, files in `DIR/blobs/`, one process at a time (`DIR/lock`).
//!
//! Readers look into memory ([`index`]); every change goes through one thread ([`writer`]) that applies it ([`transitions`]),
//! commits it ([`documents`]) and only then lets it be seen. Files lie in a folder ([`blob_dir`]), leases in memory ([`leases`]); who is next is decided by [`fair_queue`].

mod admission;
mod blob_dir;
mod catalogue;
mod documents;
mod fair_queue;
mod health;
mod index;
mod leases;
mod lock;
mod notices;
mod options;
mod transitions;
mod usage;
mod writer;

pub use options::Options;
pub use usage::Caps;

use std::{fs::File, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    blob_dir::BlobDir,
    documents::Documents,
    index::{Index, Record},
    lock::DirectoryLock,
    transitions::Context,
    writer::{Published, Writer},
};
use crate::{
    Beat, BlobKey, BlobStore, CancelOutcome, Claim, Counts, Endings, Error, Failure, Job, JobStore,
    LeaseToken, Listing, NewJob, Notice, Result, State, Try, clock::StoreTime,
};

/// The least time that a file lives which no job names yet.
const UNCLAIMED_AT_LEAST: Duration = Duration::from_secs(600);

/// Jobs and files in one directory; see the crate's head for what is promised.
///
/// Dropping the last reference finishes the changes under way, closes the files and frees the directory.
#[derive(Debug)]
pub struct Embedded {
    writer: Writer,
    published: Arc<Published>,
    context: Context,
}

impl Embedded {
    /// Opens the directory, or makes it, and puts in order what an earlier process left: jobs that were in progress go
    /// back to the queue once (`retry_count` 1) or fail, deletions that were cut short are finished. Blocks for as
    /// long as the disk needs, so call it at the start only.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`] (not writable, full, not a folder) or [`Error::Damaged`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Arc<Self>> {
        let dir = dir.as_ref();
        blob_dir::make_folder(dir)?;
        let lock = DirectoryLock::take(dir)?;
        let (documents, recovered) = Documents::open(dir.join("jobs.redb"), options.clock.wall())?;
        let unclaimed = options.unclaimed_ttl.unwrap_or(options.result_ttl.max(UNCLAIMED_AT_LEAST));
        let context = Context {
            time: Arc::new(StoreTime::starting_at(options.clock, recovered.latest)),
            blobs: Arc::new(BlobDir::open(dir.join("blobs"), lock)?),
            leases: Arc::default(),
            health: Arc::default(),
            reserve: options.reserve,
            queue_limit: options.queue_limit,
            queue_limit_each: options.queue_limit_each,
            caps: options.caps,
            caps_each: options.caps_each,
            caps_deposits: options.caps_deposits,
            result_ttl: millis(options.result_ttl),
            file_ttl: millis(options.file_ttl.unwrap_or_default().max(options.result_ttl)),
            unclaimed_ttl: millis(unclaimed),
        };
        let mut index = Index::default();
        for record in recovered.records {
            index.set(record.job.id, Some(Arc::new(record)));
        }
        for notice in recovered.notices {
            index.set_notice(notice.job.id, Some(Arc::new(notice)));
        }
        for (owner, used) in recovered.used {
            index.set_used(&owner, Some(used));
        }
        let new: Vec<_> = options.used.into_iter().filter(|(owner, _)| index.used(owner).is_none()).collect();
        for key in recovered.pending_deletes.iter().filter(|key| !index.names(key)) {
            context.blobs.remove(key)?;
        }
        let (writer, published) = Writer::start(context.clone(), documents, index, new)?;
        Ok(Arc::new(Self { writer, published, context }))
    }

    /// The record, unless it is `over`; then it is removed some time, for which nobody has to wait.
    fn live(
        &self,
        find: impl Fn(&Index) -> Option<&Arc<Record>>,
        over: impl Fn(&Record, u64) -> bool,
    ) -> Option<Arc<Record>> {
        let record = find(&self.published.index()).cloned()?;
        if !over(&record, self.context.time.now()) {
            return Some(record);
        }
        if !record.tombstone && !record.job.discarded {
            self.writer.change_later(|transaction| _ = transaction.expire());
        }
        None
    }

    /// Runs file work where it may block, and notes whether the disk is at fault.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Context) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let context = self.context.clone();
        let done = blocking(move || work(&context)).await;
        self.context.health.note(&done);
        done
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Gives back what a claim took whose caller went away before it was answered.
struct Abandoned<'a> {
    writer: &'a Writer,
    claim: Option<Uuid>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim {
            // The thread takes its orders in turn, so this one comes after the claim.
            self.writer.change_later(move |transaction| transaction.abandon(claim));
        }
    }
}

#[async_trait]
impl JobStore for Embedded {
    async fn submit(&self, job: NewJob) -> Result<Arc<Job>> {
        self.writer.change(move |transaction| transaction.submit(job)).await
    }

    async fn deposit(&self, job: NewJob, result: Value, outputs: Vec<BlobKey>) -> Result<Arc<Job>> {
        self.writer.change(move |transaction| transaction.deposit(job, result, outputs)).await
    }

    async fn wanting(&self) -> Result<Vec<Arc<Job>>> {
        Ok(self.published.index().wanting())
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.published.arrivals.subscribe()
    }

    async fn supply(&self, id: Uuid, payload: Value, inputs: Vec<BlobKey>, cost: u64) -> Result<bool> {
        self.writer.change(move |transaction| transaction.supply(id, payload, inputs, cost)).await
    }

    async fn refuse(&self, id: Uuid, failure: Failure) -> Result<bool> {
        self.writer.change(move |transaction| Ok(transaction.refuse(id, failure))).await
    }

    async fn claim_up_to(&self, most: u64, worker: &str, lease: Duration) -> Result<Option<Claim>> {
        // What could not be ended is better not begun.
        if self.context.health.trouble().is_some() || self.published.index().next_up(most).is_none() {
            return Ok(None);
        }
        let claim = Uuid::new_v4();
        let mut abandoned = Abandoned { writer: &self.writer, claim: Some(claim) };
        let taken = self.writer.change(move |transaction| Ok(transaction.claim(most, claim, lease))).await;
        abandoned.claim = None;
        if let Ok(Some(claim)) = &taken {
            tracing::debug!(job = %claim.job.id, worker, retry = claim.job.retry_count, "claimed");
        }
        taken
    }

    async fn next_up(&self) -> Result<Option<Arc<Job>>> {
        Ok(self.published.index().next_up(u64::MAX).map(|record| Arc::clone(&record.job)))
    }

    async fn heartbeat(&self, token: &LeaseToken, lease: Duration, progress: f32) -> Result<Beat> {
        let record = self.published.index().get(token.id).filter(|record| record.held_by(token)).cloned();
        let Some(record) = record else { return Ok(Beat::Lost) };
        self.context.leases.beat(token.id, self.context.time.steady().saturating_add(lease), progress);
        Ok(if record.job.cancel_requested { Beat::Cancel } else { Beat::Continue })
    }

    async fn complete(&self, token: &LeaseToken, result: Value, outputs: Vec<BlobKey>) -> Result<()> {
        let token = token.clone();
        self.writer.change(move |transaction| transaction.complete(&token, result, outputs)).await
    }

    async fn fail(&self, token: &LeaseToken, failure: Failure) -> Result<()> {
        let token = token.clone();
        self.writer.change(move |transaction| transaction.fail(&token, failure)).await
    }

    async fn release(&self, token: &LeaseToken) -> Result<()> {
        let token = token.clone();
        self.writer.change(move |transaction| transaction.release(&token)).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Arc<Job>>> {
        Ok(self.live(|index| index.get(id), Record::gone).map(|record| Arc::clone(&record.job)))
    }

    async fn by_idempotency_key(&self, client: &str, key: &str) -> Result<Option<Arc<Job>>> {
        let record = self.live(|index| index.by_idempotency_key(client, key), Record::gone);
        Ok(record.map(|record| Arc::clone(&record.job)))
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Arc<Job>>> {
        Ok(self.published.index().page(listing, self.context.time.now()))
    }

    async fn recent_runs(&self, limit: usize) -> Result<Vec<Duration>> {
        Ok(self.published.index().recent_runs(limit))
    }

    async fn cancel(&self, id: Uuid) -> Result<CancelOutcome> {
        self.writer.change(move |transaction| Ok(transaction.cancel(id))).await
    }

    async fn delete(&self, id: Uuid) -> Result<bool> {
        self.writer.change(move |transaction| Ok(transaction.delete(id))).await
    }

    async fn position(&self, id: Uuid) -> Result<Option<usize>> {
        Ok(self.published.index().position(id))
    }

    async fn progress(&self, id: Uuid) -> Result<Option<f32>> {
        let running =
            self.published.index().get(id).is_some_and(|record| record.job.state == State::Processing);
        Ok(if running { self.context.leases.progress(id) } else { None })
    }

    async fn oldest_waiting(&self) -> Result<Option<u64>> {
        Ok(self.published.index().oldest_waiting())
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.published.index().counts())
    }

    async fn waiting_of(&self, client: &str) -> Result<usize> {
        Ok(self.published.index().waiting_of(client))
    }

    async fn endings(&self) -> Result<Endings> {
        Ok(self.published.endings())
    }

    async fn used(&self, owner: &str) -> Result<u64> {
        Ok(self.published.index().used(owner).unwrap_or(0))
    }

    fn now(&self) -> u64 {
        self.context.time.now()
    }

    fn unwell(&self) -> Option<String> {
        self.context.health.trouble()
    }

    async fn check(&self) {
        let context = self.context.clone();
        let look = blocking(move || context.blobs.probe(context.reserve));
        match tokio::time::timeout(health::PATIENCE, look).await {
            Ok(outcome) => self.context.health.looked(&outcome),
            Err(_) => self.context.health.hung(),
        }
    }

    async fn by_output(&self, key: &BlobKey) -> Result<Option<Arc<Job>>> {
        Ok(self
            .live(|index| index.by_output(key), Record::files_expired)
            .map(|record| Arc::clone(&record.job)))
    }

    async fn work_ready_up_to(&self, most: u64) {
        let mut changes = self.published.changes.subscribe();
        // The sender lives as long as this store, so there is no error to wait through.
        let _ = changes.wait_for(|_| self.published.index().next_up(most).is_some()).await;
    }

    async fn wait_change(&self, id: Uuid, seen: State) -> Result<Option<Arc<Job>>> {
        let mut moves = self.published.moves.subscribe();
        loop {
            match JobStore::get(self, id).await? {
                Some(job) if job.state == seen => moves.changed().await.map_err(|_| Error::Closed)?,
                other => return Ok(other),
            }
        }
    }

    async fn take_notices(
        &self,
        busy: &[String],
        each: usize,
        limit: usize,
        _lease: Duration,
    ) -> Result<Vec<Arc<Notice>>> {
        // The directory is one process's, which says itself what it is busy with.
        Ok(self.published.index().notices().due(self.context.time.now(), busy, each, limit))
    }

    async fn note_try(&self, id: Uuid, attempt: Try, again: Option<Duration>) -> Result<()> {
        self.writer
            .change(move |transaction| {
                transaction.note_try(id, attempt, again);
                Ok(())
            })
            .await
    }

    async fn notice(&self, id: Uuid) -> Result<Option<Arc<Notice>>> {
        Ok(self.published.index().notices().get(id).cloned())
    }

    async fn sweep(&self) -> Result<usize> {
        self.writer
            .change(|transaction| {
                Ok(transaction.collect_orphans() + transaction.expire() + transaction.reclaim())
            })
            .await
    }
}

#[async_trait]
impl BlobStore for Embedded {
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<()> {
        let key = key.clone();
        self.on_disk(move |context| context.blobs.put(&key, &bytes, context.time.now())).await
    }

    async fn link(&self, from: &BlobKey, to: &BlobKey) -> Result<bool> {
        let (from, to) = (from.clone(), to.clone());
        self.on_disk(move |context| context.blobs.link(&from, &to, context.time.now())).await
    }

    async fn open(&self, key: &BlobKey) -> Result<Option<(File, u64)>> {
        let (blobs, key) = (Arc::clone(&self.context.blobs), key.clone());
        blocking(move || blobs.open_file(&key)).await
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>> {
        let (blobs, key) = (Arc::clone(&self.context.blobs), key.clone());
        blocking(move || blobs.get(&key)).await.map(|bytes| bytes.map(Bytes::from))
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let (blobs, key) = (Arc::clone(&self.context.blobs), key.clone());
        blocking(move || blobs.remove(&key)).await
    }

    async fn keys(&self) -> Result<Vec<BlobKey>> {
        Ok(self.context.blobs.keys())
    }
}

/// Runs file work where it may block; a closed runtime means a closed store.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
}
