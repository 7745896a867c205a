//! What all routes and workers share: configuration, stores, keys, counters, and the server's lifecycle.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use fetch::Fetcher;
use jobs::{BlobStore, JobStore, WorkerRegistry};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::about::About;
use crate::budget::{Budget, Pool};
use crate::checker::{CheckStage, Checker};
use crate::config::Config;
use crate::decoding::Decoding;
use crate::error::Error;
use crate::estimate::Estimator;
use crate::homes::Homes;
use crate::keys::{KeyRing, quotas};
use crate::lifecycle::{Lifecycle, Phase};
use crate::memory::DRY_RUNS;
use crate::metrics::Metrics;
use crate::rate::RateLimiter;
use crate::turnstile::Turnstile;

/// The model's name in paths.
pub const SLUG: &str = "material-transfer";

/// Bodies that are parsed at once: small ones, and long ones, which take up to 2.75 times their size meanwhile.
const PARSED_AT_ONCE: [usize; 2] = [8, LONG_PARSES];
/// The latter.
pub(crate) const LONG_PARSES: usize = 1;

/// The shared state of a server.
pub struct App {
    pub(crate) config: Config,
    pub(crate) schema: api::Schema,
    pub(crate) openapi: Value,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) keys: KeyRing,
    /// The transfers of each key.
    pub(crate) rates: RateLimiter,
    /// For those who find the queue full.
    pub(crate) turnstile: Turnstile,
    /// The credits of the owners that have a limit.
    pub(crate) quotas: BTreeMap<String, u64>,
    pub(crate) fetcher: Fetcher,
    /// Who is asked about pictures.
    pub(crate) checker: Option<Checker>,
    pub(crate) metrics: Metrics,
    /// The memory of bodies.
    pub(crate) bodies: Budget,
    /// Polls and streams that wait for a job.
    pub(crate) waiting: Arc<Pool>,
    /// Requests that are only to be tried, each with a picture in memory.
    pub(crate) dry_runs: Arc<Pool>,
    /// How long jobs are going to take.
    pub(crate) estimator: Estimator,
    /// For parsing small bodies, and long ones.
    pub(crate) parsing: [Arc<Semaphore>; 2],
    /// The memory of decoding.
    pub(crate) decoding: Decoding,
    /// Set by the program, once.
    about: OnceLock<About>,
    /// How far the server is with going down, and how its workers are.
    pub(crate) lifecycle: Lifecycle,
    /// Where there may be workers of other nodes.
    pub(crate) registry: Option<Arc<dyn WorkerRegistry>>,
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
            rates: RateLimiter::new(usize::MAX),
            turnstile: Turnstile::default(),
            quotas: quotas(&config),
            fetcher: Fetcher::new(config.fetch_policy())?,
            checker: Checker::new(&config)?,
            metrics: Metrics::default(),
            bodies: Budget::new(config.body_memory.0, config.max_body.0),
            waiting: Pool::new(config.max_waiting, config.max_waiting.div_ceil(2)),
            dry_runs: Pool::new(DRY_RUNS, DRY_RUNS.div_ceil(2)),
            estimator: Estimator::default(),
            parsing: PARSED_AT_ONCE.map(|permits| Arc::new(Semaphore::new(permits))),
            decoding: Decoding::new(config.decode_limits()),
            about: OnceLock::new(),
            lifecycle: Lifecycle::new(config.workers),
            registry: None,
            config,
        })
    }

    /// Who is to be asked about the pictures of this stage.
    pub(crate) fn checker_of(&self, stage: CheckStage) -> Option<&Checker> {
        self.checker.as_ref().filter(|checker| checker.wants(stage))
    }

    /// Says what program this is; only the first call counts.
    pub fn introduce(&self, about: About) {
        let _ = self.about.set(about);
    }

    /// What program this is.
    pub(crate) fn about(&self) -> &About {
        self.about.get_or_init(About::default)
    }

    /// Why the server is not ready, if it is not.
    pub(crate) fn unready(&self) -> Option<String> {
        if self.lifecycle.phase() > Phase::Running {
            return Some("shutting down".to_owned());
        }
        self.jobs.unwell().or_else(|| self.lifecycle.workers_unready().map(str::to_owned))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}
