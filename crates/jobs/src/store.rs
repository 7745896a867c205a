//! The trait [`JobStore`]: the queue, the leases and the results, wherever they live.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Beat, BlobKey, CancelOutcome, Claim, Counts, Endings, Failure, Job, LeaseToken, Listing, NewJob, Notice,
    Result, State, Try,
};

/// The life of jobs. Every change is durable when its call returns `Ok`; after an `Err` nothing has changed.
///
/// Nobody sees a change before it is durable, so an answer once given (COMPLETED, say) survives a crash.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Accepts a job at the end of the queue. If its client has submitted the same under the same idempotency key before,
    /// nothing changes, and the answer is the job that was made then, whatever has become of it.
    ///
    /// # Errors
    /// [`Error::KeyReused`](crate::Error::KeyReused) if something else was submitted under the key;
    /// [`Error::QueueFull`](crate::Error::QueueFull), [`Error::ClientFull`](crate::Error::ClientFull),
    /// [`Error::Kept`](crate::Error::Kept), [`Error::Exhausted`](crate::Error::Exhausted),
    /// [`Error::Duplicate`](crate::Error::Duplicate), [`Error::MissingBlob`](crate::Error::MissingBlob) for an input that
    /// was not stored before, or a storage error.
    async fn submit(&self, job: NewJob) -> Result<Arc<Job>>;

    /// Keeps files without any work: a job that is COMPLETED at once, with `outputs`, which must be stored already. It
    /// expires like any other. The inputs of `job` are not kept, it takes no credit, and the limit of the queue does not
    /// apply; each client has a limit for its deposits instead.
    ///
    /// # Errors
    /// [`Error::Kept`](crate::Error::Kept), [`Error::Duplicate`](crate::Error::Duplicate),
    /// [`Error::MissingBlob`](crate::Error::MissingBlob) or a storage error.
    async fn deposit(&self, job: NewJob, result: Value, outputs: Vec<BlobKey>) -> Result<Arc<Job>>;

    /// The waiting jobs whose inputs have still to be fetched, in the order in which their turns come.
    async fn wanting(&self) -> Result<Vec<Arc<Job>>>;

    /// Changes whenever there is a new job in [`wanting`](Self::wanting).
    fn arrivals(&self) -> watch::Receiver<u64>;

    /// Gives a waiting job what it wanted: its payload, inputs and cost are these from now on, and it can be claimed, in its
    /// old place. `false` if it does not wait for them (any more); then nothing has changed.
    ///
    /// # Errors
    /// [`Error::MissingBlob`](crate::Error::MissingBlob) or a storage error.
    async fn supply(&self, id: Uuid, payload: Value, inputs: Vec<BlobKey>, cost: u64) -> Result<bool>;

    /// Ends a waiting job as FAILED; `false` if it does not wait (any more).
    async fn refuse(&self, id: Uuid, failure: Failure) -> Result<bool>;

    /// Takes a waiting job for `worker` (a name for the log), or `None` if there is none to be taken: the oldest one of the
    /// client that had least of the work so far (start-time fair queueing: a client that had nothing for a while has no claim
    /// to what it left to others). A job that was interrupted runs alone, since it may be what ended the process; while it is
    /// the next one and waits for that, or runs, there is none to be taken. The lease lapses unless
    /// [`heartbeat`](Self::heartbeat) renews it in time. Dropping the unfinished call gives the job back.
    async fn claim(&self, worker: &str, lease: Duration) -> Result<Option<Claim>> {
        self.claim_up_to(u64::MAX, worker, lease).await
    }

    /// The same, if it costs at most `most`: of each client the job that comes first or none.
    async fn claim_up_to(&self, most: u64, worker: &str, lease: Duration) -> Result<Option<Claim>>;

    /// The job that [`claim`](Self::claim) would take now, if it can be told without taking it: somebody else may be quicker.
    async fn next_up(&self) -> Result<Option<Arc<Job>>>;

    /// Renews the lease for another `lease` from now and notes the progress, 0 to 1. Writes nothing durable.
    async fn heartbeat(&self, token: &LeaseToken, lease: Duration, progress: f32) -> Result<Beat>;

    /// Ends the job with a result and its files, which must be stored already. The inputs are deleted.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the job is not in this token's hands any more,
    /// [`Error::MissingBlob`](crate::Error::MissingBlob), or a storage error; the worker may try again after the
    /// latter two.
    async fn complete(&self, token: &LeaseToken, result: Value, outputs: Vec<BlobKey>) -> Result<()>;

    /// Ends the job as FAILED. The inputs are deleted.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) or a storage error.
    async fn fail(&self, token: &LeaseToken, failure: Failure) -> Result<()>;

    /// Gives the job back, to its old place in the queue, with no retry counted: the graceful shutdown. A job that
    /// was to be cancelled is FAILED instead.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) or a storage error.
    async fn release(&self, token: &LeaseToken) -> Result<()>;

    /// The job, or `None` if there is none: never was, was deleted, or is past its `expires_at` at this very moment.
    async fn get(&self, id: Uuid) -> Result<Option<Arc<Job>>>;

    /// The job that a client submitted under this idempotency key, if it is still known.
    async fn by_idempotency_key(&self, client: &str, key: &str) -> Result<Option<Arc<Job>>>;

    /// A page of a client's jobs, newest first; without deposits.
    async fn list(&self, listing: &Listing) -> Result<Vec<Arc<Job>>>;

    /// How long the jobs took that were completed last and are still known, the latest first; at most `limit`.
    async fn recent_runs(&self, limit: usize) -> Result<Vec<Duration>>;

    /// Cancels a waiting job at once and asks the worker of a running one to stop.
    async fn cancel(&self, id: Uuid) -> Result<CancelOutcome>;

    /// Removes a job and its files before its time. From now on it is unknown; one that runs is cancelled, and its files go
    /// when its worker lets go of it. `false` if there is none, or its time is over.
    async fn delete(&self, id: Uuid) -> Result<bool>;

    /// How many waiting jobs come before this one, as things stand; `None` if it does not wait.
    async fn position(&self, id: Uuid) -> Result<Option<usize>>;

    /// What the last heartbeat of a running job said, 0 to 1; `None` if it does not run. Forgotten by a restart.
    async fn progress(&self, id: Uuid) -> Result<Option<f32>>;

    /// When the job that has waited longest was accepted, unix ms by [`now`](Self::now); `None` if none waits.
    async fn oldest_waiting(&self) -> Result<Option<u64>>;

    /// How many jobs are in which state.
    async fn counts(&self) -> Result<Counts>;

    /// How many jobs of one client wait.
    async fn waiting_of(&self, client: &str) -> Result<usize>;

    /// What has become of jobs since the home was opened.
    async fn endings(&self) -> Result<Endings>;

    /// How many credits an owner has used: its jobs that took one, but for those that failed.
    async fn used(&self, owner: &str) -> Result<u64>;

    /// The time by which jobs expire, unix ms.
    fn now(&self) -> u64;

    /// What is wrong with the home's disk, if anything is; then nothing can be kept, and nothing should be begun.
    fn unwell(&self) -> Option<String>;

    /// Looks whether the disk is there, is ours, can be written and has room, for [`unwell`](Self::unwell). To be called
    /// every few seconds.
    async fn check(&self);

    /// The COMPLETED job that a file belongs to; `None` if there is none, or the files' time (`files_expire_at`) is over
    /// at this very moment. Where files live longer than jobs, the job may be expired for [`get`](Self::get) already;
    /// then its payload and result are `null` here.
    async fn by_output(&self, key: &BlobKey) -> Result<Option<Arc<Job>>>;

    /// Waits until there may be something to claim. Safe in `select!`; several waiters may wake for one job.
    async fn work_ready(&self) {
        self.work_ready_up_to(u64::MAX).await;
    }

    /// The same for jobs that cost at most `most`.
    async fn work_ready_up_to(&self, most: u64);

    /// Waits until the job is in another state than `seen` and returns it; `None` if it is gone or never was. A state that
    /// lasts for a moment only may be missed. Safe in `select!`.
    async fn wait_change(&self, id: Uuid, seen: State) -> Result<Option<Arc<Job>>>;

    /// Waits until the job is terminal and returns it; `None` if it is gone or never was. Safe in `select!`.
    async fn wait_terminal(&self, id: Uuid) -> Result<Option<Arc<Job>>> {
        let mut seen = State::Queued;
        loop {
            match self.wait_change(id, seen).await? {
                Some(job) if !job.state.is_terminal() => seen = job.state,
                over => return Ok(over),
            }
        }
    }

    /// Takes notices whose time has come, the longest due first: at most `limit`, `each` of one lane, and none of the lanes in
    /// `busy`. No other node takes them for `lease`.
    async fn take_notices(
        &self,
        busy: &[String],
        each: usize,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Arc<Notice>>>;

    /// Notes a try to deliver the notice of a job, and in how long the next one is due; `None`: it was the last.
    async fn note_try(&self, id: Uuid, attempt: Try, again: Option<Duration>) -> Result<()>;

    /// The notice of a job's end, delivered or not; `None` if there is none.
    async fn notice(&self, id: Uuid) -> Result<Option<Arc<Notice>>>;

    /// Tidies up, to be called every few seconds: removes expired jobs with their files, sends jobs whose lease
    /// lapsed back to the queue once (`retry_count` 1) or to FAILED, removes old files that no job names. A lease counts
    /// as lapsed when two sweeps a second apart have found it so: after a pause of the whole process the worker beats
    /// again in between. Returns how many jobs and files it touched.
    async fn sweep(&self) -> Result<usize>;
}
