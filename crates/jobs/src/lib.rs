//! The life of a job: a queue, leases and retention, and the files that belong to jobs. What a job computes is not
//! known here.
//!
//! ```text
//!     ┌──────── release, first interruption ────────┐
//!     ▼                                             │
//!   QUEUED ──────────────── claim ─────────────▶ PROCESSING ── complete ──▶ COMPLETED ──┐
//!     │                                             │                                   ├─ result_ttl ─▶ gone
//!     └────────────── cancel ──────────┐            └── fail, cancel, ────▶ FAILED ─────┘
//!                                      │                second interruption    ▲
//!                                      └───────────────────────────────────────┘
//! ```
//!
//! [`JobStore`] and [`BlobStore`] say what a home of jobs does; `tests/conformance` is the list of cases that every home
//! must pass. [`Embedded`] is the home on one machine: documents in one redb file, pictures in plain files.
//!
//! # What is promised
//!
//! * **What was answered is so.** A call returns `Ok` when its change is on disk, and nobody sees a change before it is
//!   there. After an `Err`, the job is as it was.
//! * **No accepted job is lost.** After `kill -9`, a panic or a reboot, waiting jobs still wait in their order, what was
//!   over is over with the same bytes, and a job that ran goes back to its place in the queue, once (`retry_count` 1); if
//!   it is interrupted again it is FAILED with [`INTERRUPTED`], so that a job that kills its server cannot do so forever.
//!   An interrupted job runs alone, so that it cannot take others along.
//! * **One job, one worker.** A job is claimed by one worker at a time, under a lease that it renews by heartbeats. Who
//!   lost the lease can change nothing any more. (It may still be computing: a job's work may be done twice, its result
//!   is taken once.)
//! * **A submission under an idempotency key makes one job**, however often it comes and across restarts, for as long as that
//!   job is known.
//! * **The end of a job that wants it told leaves a notice**, made in the same commit, which stays until it is delivered or given
//!   up, longer than the job if need be.
//! * **Clients in turn**, each for as much work as the others ([`NewJob::cost`]), each client's jobs in their order, and at most `queue_limit` waiting jobs, `queue_limit_each` of
//!   one client (an interrupted one comes back even so). A job whose inputs are still to be fetched keeps its place.
//! * **Credits are right.** A job takes one in the commit that accepts it and gives it back in the commit in which it fails,
//!   whoever ends it.
//! * **What is kept is bounded** ([`Caps`]): the oldest failed jobs go first, results are never driven out; new jobs are
//!   refused instead. A job that is over keeps nothing of what was to be done.
//! * **Retention to the millisecond.** A job expires `result_ttl` after its end, never while it waits or runs. From that
//!   moment it is unknown, swept or not, also if the clock is set back, also over restarts. Its inputs are deleted at
//!   its end, its outputs with it (or at `file_ttl`), by the next [`JobStore::sweep`].
//! * **Files are whole or absent**, and a job never names a file that was not stored before.
//! * **A full or read-only disk** is an error that names the path and the remedy, and changes nothing; the same store
//!   goes on once there is room. Files of expired jobs are deleted even if that cannot be noted. [`JobStore::check`] looks
//!   whether the disk is well, and whether the directory still is the one that was opened; while it is not, nothing is
//!   accepted or begun. Reads never wait for a write.
//!
//! # What is not
//!
//! * "On disk" means that `fsync` said so (files, their folders and redb's commits alike). A drive or a hypervisor that
//!   lies about its cache can lose what it lied about in a power cut; redb's checksums then fall back to the last whole
//!   commit. A killed process loses nothing even there.
//! * Deleting a file unlinks it. Its blocks may be readable on the raw disk until they are used again.
//! * A call that returned an I/O error from a commit (not [`Error::QueueFull`] and the like) did not happen as far as this
//!   process is concerned; but if the process is killed before its next successful commit, the restart may find that it
//!   did happen. A caller that submits again after such an error may thus, very rarely, have two jobs.
//! * Progress is in memory only, and so are leases: a restart interrupts all running jobs.
//! * The store's time begins at the wall clock, or at the latest moment noted if that is later, and is steady from then
//!   on. Time spent switched off while the wall clock is behind does not count, nor does time in which the whole machine
//!   sleeps.
//! * The documents are also kept in memory (some kilobytes a job), and a directory belongs to one process.

mod blob;
mod clock;
mod embedded;
mod error;
mod failure;
mod job;
mod notice;
mod registry;
mod shared;
mod store;

pub use blob::{BlobKey, BlobStore};
pub use clock::{Clock, ManualClock, SystemClock};
pub use embedded::{Caps, Embedded, Options};
pub use error::{Error, Result};
pub use failure::{Blame, CANCELLED, Failure, INTERRUPTED};
pub use job::{
    Beat, CancelOutcome, Claim, Counts, Endings, Idempotency, Job, LeaseToken, Listing, NewJob, Place, State,
};
pub use notice::{Notice, PENDING_NOTICES, Try, Webhook};
pub use registry::{WorkerRegistry, WorkerReport};
pub use store::JobStore;
