//! What all routes and workers share: configuration, stores, keys, counters, and whether the server takes work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fetch::{Fetcher, SetupError};
use jobs::{BlobStore, Caps, Embedded, JobStore, Options};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::budget::Budget;
use crate::config::Config;
use crate::credits;
use crate::decoding::Decoding;
use crate::keys::{KeyRing, quotas};
use crate::metrics::Metrics;
use crate::rate::RateLimiter;
use crate::turnstile::Turnstile;

/// The model's name in paths.
pub const SLUG: &str = "material-transfer";

/// Bodies that are parsed at once: small ones, and long ones, which take up to 2.75 times their size meanwhile.
const PARSED_AT_ONCE: [usize; 2] = [8, 2];

/// Bytes of the documents of jobs that are over; they are in memory too. One of a long prompt in four-byte characters
/// takes 40 kB, a usual one 1.5.
const DOCUMENTS: u64 = 64 << 20;

/// Why the server cannot be set up or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] jobs::Error),
    /// The fetcher cannot be made.
    #[error(transparent)]
    Fetch(#[from] SetupError),
    /// The count of credits of an earlier version cannot be read.
    #[error(
        "cannot read {path}: {source}; restore it from a backup, or remove it to give all keys their credits anew"
    )]
    Ledger {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// As configured.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The signals that end the server cannot be heard.
    #[error("cannot wait for SIGTERM and SIGINT: {0}")]
    Signals(std::io::Error),
    /// No worker could be started.
    #[error("no worker is running: {0}")]
    Worker(String),
}

/// How far a server is with going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Takes work.
    Running,
    /// Takes none; running jobs go on.
    Draining,
    /// Running jobs go back to the queue, waiting calls are answered.
    Stopping,
}

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Loading,
    Ready,
    Down,
}

/// The shared state of a server.
pub struct App {
    pub(crate) config: Config,
    pub(crate) schema: api::Schema,
    pub(crate) openapi: Value,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) keys: KeyRing,
    pub(crate) rates: RateLimiter,
    /// For those who find the queue full.
    pub(crate) turnstile: Turnstile,
    /// The credits of the owners that have a limit.
    pub(crate) quotas: BTreeMap<String, u64>,
    pub(crate) fetcher: Fetcher,
    pub(crate) metrics: Metrics,
    /// The memory of bodies.
    pub(crate) bodies: Budget,
    /// For parsing small bodies, and long ones.
    pub(crate) parsing: [Arc<Semaphore>; 2],
    /// The memory of decoding.
    pub(crate) decoding: Decoding,
    phase: watch::Sender<Phase>,
    workers: Mutex<Vec<WorkerState>>,
    /// Why an engine could not be loaded.
    load_error: Mutex<String>,
}

impl App {
    /// Opens the stores in the configured data directory. Blocks on the disk, so call it at the start.
    ///
    /// # Errors
    /// [`Error`], telling what to do.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        let path = config.data_dir.join(credits::FILE);
        let used =
            credits::counted_before(&path).map_err(|source| Error::Ledger { path: path.clone(), source })?;
        let caps = Caps { jobs: config.keep_jobs, documents: DOCUMENTS, files: config.keep_files.0 as u64 };
        let options = Options {
            queue_limit: config.queue_limit,
            queue_limit_each: config.queue_limit_per_key,
            caps,
            // So that nobody takes all of it.
            caps_each: Caps {
                jobs: caps.jobs.div_ceil(2),
                documents: caps.documents / 2,
                files: caps.files / 2,
            },
            caps_deposits: Caps {
                jobs: config.upload_files,
                documents: u64::MAX,
                files: config.upload_bytes.0 as u64,
            },
            reserve: config.disk_reserve.0 as u64,
            result_ttl: config.result_ttl.0,
            file_ttl: Some(config.file_ttl.0),
            used,
            ..Options::default()
        };
        let home = Embedded::open(&config.data_dir, options)?;
        credits::forget(&path);
        Self::with_stores(config, home.clone(), home)
    }

    /// The same on stores that are already there.
    ///
    /// # Errors
    /// [`Error::Fetch`].
    pub fn with_stores(
        config: Config,
        jobs: Arc<dyn JobStore>,
        blobs: Arc<dyn BlobStore>,
    ) -> Result<Arc<Self>, Error> {
        let schema = api::Schema::new(config.request_limits());
        Ok(Arc::new(Self {
            openapi: api::openapi(&schema, SLUG, &config.path_prefix, env!("CARGO_PKG_VERSION")),
            schema,
            jobs,
            blobs,
            keys: KeyRing::new(&config),
            rates: RateLimiter::default(),
            turnstile: Turnstile::default(),
            quotas: quotas(&config),
            fetcher: Fetcher::new(config.fetch_policy())?,
            metrics: Metrics::default(),
            bodies: Budget::new(config.body_memory.0, config.max_body.0),
            parsing: PARSED_AT_ONCE.map(|permits| Arc::new(Semaphore::new(permits))),
            decoding: Decoding::new(config.decode_limits()),
            phase: watch::Sender::new(Phase::Running),
            workers: Mutex::new(vec![WorkerState::Loading; config.workers]),
            load_error: Mutex::default(),
            config,
        }))
    }

    /// Moves on towards the end; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until that phase, or a later one.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so it cannot be gone.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    pub(crate) fn set_worker(&self, number: usize, state: WorkerState) {
        if let Some(worker) = self.workers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            *worker = state;
        }
    }

    /// A worker has no engine and ends.
    pub(crate) fn worker_failed(&self, number: usize, reason: String) {
        tracing::error!(worker = number, reason, "the engine could not be loaded");
        *self.load_error.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        self.set_worker(number, WorkerState::Down);
    }

    /// What the last worker without an engine said.
    pub(crate) fn load_error(&self) -> String {
        self.load_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the server is not ready, if it is not.
    pub(crate) fn unready(&self) -> Option<String> {
        if self.phase() > Phase::Running {
            return Some("shutting down".to_owned());
        }
        if let Some(trouble) = self.jobs.unwell() {
            return Some(trouble);
        }
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let any = |state| workers.contains(&state);
        let reason = match (any(WorkerState::Ready), any(WorkerState::Loading), any(WorkerState::Down)) {
            (true, _, false) => return None,
            (true, _, true) => "a worker has stopped; the log says why",
            (false, true, _) => "the model is being loaded",
            (false, false, _) => "no worker is running; the log says why",
        };
        Some(reason.to_owned())
    }

    /// May work be queued? While the model is loaded it may; once all workers are down it may not.
    pub(crate) fn takes_work(&self) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        self.phase() == Phase::Running && !workers.iter().all(|worker| *worker == WorkerState::Down)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}
