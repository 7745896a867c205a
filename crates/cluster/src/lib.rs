//! The home of jobs and files for many hosts: documents in PostgreSQL ([`PostgresJobs`]), files in an S3-compatible object
//! store ([`ObjectFiles`]). It does what [`jobs::Embedded`] does on one machine, and passes the same conformance suite.
//!
//! ```text
//!   API node ──┐                       ┌── worker (GPU host)
//!   API node ──┼── PostgreSQL ── S3 ───┼── worker (GPU host)
//!   API node ──┘   jobs, credits,      └── worker (GPU host)
//!                  leases, files' names
//! ```
//!
//! # How
//!
//! * **Every change is one transaction**, credits, files' names and wake-ups included. Nothing is open while something is
//!   computed or uploaded. After an error nothing has changed, unless the connection broke at the very commit; then the
//!   next call by the same lease finds that out.
//! * **A claim is one statement** with `FOR UPDATE SKIP LOCKED`: claimers never wait for each other. Submissions do, under
//!   an advisory lock, so that limits, credits and what is kept are exact.
//! * **Time is the database's** ([`jobs::JobStore::now`] is an estimate of it). No node's clock matters.
//! * **Leases** are rows of their own, renewed without waiting for the disk. A worker that was silent for a lease loses the
//!   job once two sweeps, a second apart and by whichever node, have found it so. Every end is fenced by its claim.
//! * **Wake-ups** go by `NOTIFY` at commit, and by polling where that does not get through (a pooler in transaction mode, a
//!   connection that broke): every waiter looks again within two seconds.
//! * **Every object is written down before it is uploaded** and crossed out after it is deleted, so a crash leaves no object
//!   that nobody knows of. A rule of the bucket that deletes old objects is a safety net and never needed.
//! * **An interrupted job runs alone on its node**, for it may be what ended the other one; nodes beside it go on.
//!
//! # What differs from one machine
//!
//! * A node that is started again does not know the jobs of its former life: they are taken over once their leases lapse.
//! * Clients share the work by the last claims that are still kept; two claims at the very same moment may give one client two
//!   turns in a row, and while a version before the sharing works along, what it claims counts for nothing.
//! * [`jobs::JobStore::endings`] counts what this process did.
//! * The limits are each node's own settings: give all nodes the same.

mod admission;
mod claims;
mod database;
mod endings;
mod files;
mod health;
mod lists;
mod migrations;
mod notices;
mod objects;
mod registry;
mod rows;
mod store;
mod sweep;
mod tls;
mod turns;
mod wake;

use std::{sync::Arc, time::Duration};

use jobs::{Caps, Result};
use uuid::Uuid;

pub use files::ObjectFiles;
pub use store::PostgresJobs;

/// How the home is to behave.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host/name?sslmode=…&sslrootcert=…`. Hosts other than this machine must speak TLS unless
    /// `sslmode` says otherwise.
    pub database: String,
    /// The schema of our tables; made if it is not there.
    pub schema: String,
    /// How many connections to the database at most, besides the one that listens.
    pub connections: usize,
    /// `s3://bucket/prefix`. Credentials, region and endpoint are those of the environment (`AWS_…`).
    pub files: String,
    /// Settings of the object store by their names in the environment, in lower case, before the environment's own.
    pub object_store: Vec<(String, String)>,
    /// What this node's workers can run; the jobs that are submitted here are for workers of this profile.
    pub profile: String,
    /// How many jobs may wait.
    pub queue_limit: usize,
    /// How many jobs of one client may wait.
    pub queue_limit_each: usize,
    /// What may be kept of jobs that are over, in all.
    pub caps: Caps,
    /// The same for each client.
    pub caps_each: Caps,
    /// How many files (`jobs`), and bytes of them (`files`), each client may deposit.
    pub caps_deposits: Caps,
    /// How long a job lives after its end.
    pub result_ttl: Duration,
    /// How long output files live after the job's end, if longer.
    pub file_ttl: Option<Duration>,
    /// How long a file lives that no job names. `None`: as long as a result, and ten minutes at least.
    pub unclaimed_ttl: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        let unlimited = Caps { jobs: usize::MAX, documents: u64::MAX, files: u64::MAX };
        Self {
            database: String::new(),
            schema: "material_transfer".into(),
            connections: 8,
            files: String::new(),
            object_store: Vec::new(),
            profile: "exemplar".into(),
            queue_limit: 100,
            queue_limit_each: usize::MAX,
            caps: unlimited,
            caps_each: unlimited,
            caps_deposits: unlimited,
            result_ttl: Duration::from_secs(3600),
            file_ttl: None,
            unclaimed_ttl: None,
        }
    }
}

/// The least time that a file lives which no job names yet.
const UNCLAIMED_AT_LEAST: Duration = Duration::from_secs(600);

/// The limits in the database's units: milliseconds and 64-bit numbers.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    queue: usize,
    queue_each: usize,
    caps: Caps,
    caps_each: Caps,
    caps_deposits: Caps,
    result_ttl: i64,
    file_ttl: i64,
    unclaimed_ttl: i64,
}

/// What jobs and files share.
#[derive(Debug)]
pub(crate) struct Shared {
    database: database::Database,
    objects: objects::Objects,
    health: health::Health,
    wake: wake::Wake,
    limits: Arc<Limits>,
    profile: String,
    /// This process.
    node: Uuid,
}

/// Opens the home: connects, brings the tables up to date and begins to listen. Must be called within a tokio runtime.
///
/// # Errors
/// [`jobs::Error::Unavailable`], for a mistake in the addresses, a database that cannot be reached, or tables that are too new.
pub async fn open(options: Options) -> Result<(Arc<PostgresJobs>, Arc<ObjectFiles>)> {
    // The process may have chosen a provider already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4);
    let unclaimed = options.unclaimed_ttl.unwrap_or(options.result_ttl.max(UNCLAIMED_AT_LEAST));
    let limits = Limits {
        queue: options.queue_limit,
        queue_each: options.queue_limit_each,
        caps: options.caps,
        caps_each: options.caps_each,
        caps_deposits: options.caps_deposits,
        result_ttl: millis(options.result_ttl),
        file_ttl: millis(options.file_ttl.unwrap_or_default().max(options.result_ttl)),
        unclaimed_ttl: millis(unclaimed),
    };
    let database = database::Database::new(&options.database, &options.schema, options.connections)?;
    let objects = objects::Objects::open(&options.files, &options.object_store)?;
    migrations::migrate(&database).await?;
    let wake = wake::Wake::listen(&database);
    let shared = Arc::new(Shared {
        database,
        objects,
        health: health::Health::default(),
        wake,
        limits: Arc::new(limits),
        profile: options.profile,
        node: Uuid::new_v4(),
    });
    let home = Arc::new(PostgresJobs::new(shared.clone()));
    home.learn_the_time().await?;
    Ok((home, Arc::new(ObjectFiles::new(shared))))
}
