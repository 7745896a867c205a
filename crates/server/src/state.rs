//! What all routes and workers share: configuration, stores, keys, counters, and whether the server takes work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fetch::{Fetcher, SetupError};
use jobs::{BlobStore, JobStore, WorkerRegistry};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::about::About;
use crate::budget::Budget;
use crate::config::Config;
use crate::decoding::Decoding;
use crate::homes::Homes;
use crate::keys::{KeyRing, quotas};
use crate::metrics::Metrics;
use crate::rate::RateLimiter;
use crate::turnstile::Turnstile;

/// The model's name in paths.
pub const SLUG: &str = "material-transfer";

/// Bodies that are parsed at once: small ones, and long ones, which take up to 2.75 times their size meanwhile.
const PARSED_AT_ONCE: [usize; 2] = [8, 2];

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
    /// There is a database in the settings, and no support for one in this program.
    #[error(
        "this program was built without support for a database; build it with `--features cluster`, or take the setting \
         `database` away"
    )]
    NoCluster,
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
    /// Set by the program, once.
    about: OnceLock<About>,
    phase: watch::Sender<Phase>,
    /// How each is, and what it runs.
    workers: Mutex<Vec<(WorkerState, Option<Uuid>)>>,
    /// Why an engine could not be loaded.
    load_error: Mutex<String>,
    /// Where there may be workers of other nodes.
    pub(crate) registry: Option<Arc<dyn WorkerRegistry>>,
    /// How many calls wait for a picture.
    calls: watch::Sender<usize>,
}

impl App {
    /// Opens the stores in the configured data directory. Blocks on the disk, so call it at the start.
    ///
    /// # Errors
    /// [`Error`], telling what to do.
    pub fn open(config: Config) -> Result<Arc<Self>, Error> {
        let Homes { jobs, blobs, registry } = Homes::open(&config)?;
        let mut app = Self::assemble(config, jobs, blobs)?;
        app.registry = registry;
        Ok(Arc::new(app))
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
        Self::assemble(config, jobs, blobs).map(Arc::new)
    }

    fn assemble(config: Config, jobs: Arc<dyn JobStore>, blobs: Arc<dyn BlobStore>) -> Result<Self, Error> {
        let schema = api::Schema::new(config.request_limits());
        let keys = KeyRing::new(&config);
        Ok(Self {
            openapi: api::openapi(
                &schema,
                SLUG,
                &config.path_prefix,
                env!("CARGO_PKG_VERSION"),
                !keys.is_open(),
            ),
            schema,
            jobs,
            blobs,
            keys,
            rates: RateLimiter::default(),
            turnstile: Turnstile::default(),
            quotas: quotas(&config),
            fetcher: Fetcher::new(config.fetch_policy())?,
            metrics: Metrics::default(),
            bodies: Budget::new(config.body_memory.0, config.max_body.0),
            parsing: PARSED_AT_ONCE.map(|permits| Arc::new(Semaphore::new(permits))),
            decoding: Decoding::new(config.decode_limits()),
            about: OnceLock::new(),
            phase: watch::Sender::new(Phase::Running),
            workers: Mutex::new(vec![(WorkerState::Loading, None); config.workers]),
            load_error: Mutex::default(),
            registry: None,
            calls: watch::Sender::new(0),
            config,
        })
    }

    /// Says what program this is; only the first call counts.
    pub fn introduce(&self, about: About) {
        let _ = self.about.set(about);
    }

    /// What program this is.
    pub(crate) fn about(&self) -> &About {
        self.about.get_or_init(About::default)
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
            worker.0 = state;
        }
    }

    /// Notes what a worker runs.
    pub(crate) fn set_worker_job(&self, number: usize, job: Option<Uuid>) {
        if let Some(worker) = self.workers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            worker.1 = job;
        }
    }

    /// The workers of this node: the word for their state, and what they run.
    pub(crate) fn own_workers(&self) -> Vec<(&'static str, Option<Uuid>)> {
        let word = |state| match state {
            WorkerState::Loading => "loading",
            WorkerState::Ready => "ready",
            WorkerState::Down => "down",
        };
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|(state, job)| (word(*state), *job)).collect()
    }

    /// Counts a call that waits for a picture, until what is returned is dropped.
    pub(crate) fn waiting_call(&self) -> impl Drop + use<'_> {
        struct Counted<'a>(&'a watch::Sender<usize>);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|calls| *calls -= 1);
            }
        }
        self.calls.send_modify(|calls| *calls += 1);
        Counted(&self.calls)
    }

    /// Waits until no call waits for a picture that other nodes may be making.
    pub(crate) async fn calls_answered(&self) {
        if self.registry.is_some() {
            // The sender lives in `self`, so it cannot be gone.
            let _ = self.calls.subscribe().wait_for(|calls| *calls == 0).await;
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
        // Others may work where none works here.
        if workers.is_empty() {
            return None;
        }
        let any = |state| workers.iter().any(|worker| worker.0 == state);
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
        let down = workers.iter().all(|worker| worker.0 == WorkerState::Down);
        self.phase() == Phase::Running && (!down || workers.is_empty())
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}
