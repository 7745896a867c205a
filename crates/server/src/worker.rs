//! Workers: one OS thread each, owning one engine, taking one job after the other from the store.
//!
//! The thread computes. Beside it pictures are fetched ([`fetching`]), the next job's inputs are decoded ([`prepare`]) and the
//! last one's output is encoded and stored ([`ending`]), and a task for each job keeps its lease alive, reports progress and
//! learns of cancellation ([`control`]). Small jobs go first where a large one computes ([`aside`]). A panic in an engine fails
//! that job and the worker goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jobs::Claim;
use pipeline::Engine;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::error::Error;
use crate::fetching;
use crate::lifecycle::{Phase, WorkerState};
use crate::state::App;
use crate::webhooks;

mod aside;
mod control;
mod ending;
mod prepare;

use aside::{Aside, Watch};
use control::{Beating, JobControl};
pub(crate) use ending::within;
use ending::{Ending, Made, Stopped};
use prepare::{Ahead, Preparation};

/// Makes the engine of the worker of this number, from 0; called on the worker's own thread, which may open a GPU of its own.
pub type EngineFactory =
    Arc<dyn Fn(usize) -> Result<Arc<dyn Engine>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// How long a worker rests when the store fails, and how long it sleeps at most if no wake-up comes.
const REST: Duration = Duration::from_secs(1);
/// The results of one worker that are being checked while it goes on. With as many it waits: what the engine makes faster than it
/// can be checked is nobody's gain.
const CHECKED: usize = 32;
/// The stack of a worker's thread, in bytes: for a job, and another one in the midst of it.
const STACK: usize = 4 << 20;

/// The running workers. Dropping this stops them, and their jobs go back to the queue.
#[derive(Debug)]
pub struct Workers {
    app: Arc<App>,
    /// Closed when the last worker has ended.
    ended: mpsc::Receiver<()>,
}

impl Workers {
    /// Starts the configured number of workers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Worker`], if the system gives no thread.
    pub fn start(app: &Arc<App>, factory: &EngineFactory) -> Result<Self, Error> {
        let (alive, ended) = mpsc::channel(1);
        for number in 0..app.config.workers {
            let name = format!("worker-{number}");
            let worker = Worker {
                app: app.clone(),
                runtime: Handle::current(),
                checks: Arc::new(Semaphore::new(CHECKED)),
                alive: alive.clone(),
                number,
                name: name.clone(),
                ahead: Ahead::default(),
                ending: Mutex::default(),
            };
            let factory = factory.clone();
            let thread = std::thread::Builder::new().name(name).stack_size(STACK);
            let spawned = thread.spawn(move || worker.live(&factory));
            spawned.map_err(|error| Error::Worker(error.to_string()))?;
        }
        if app.config.api {
            tokio::spawn(fetching::run(app.clone()));
            tokio::spawn(webhooks::run(app.clone()));
        }
        Ok(Self { app: app.clone(), ended })
    }

    /// Waits until all workers have ended; where there are none from the start, until the server stops.
    pub async fn ended(&mut self) {
        if self.app.config.workers == 0 {
            return self.app.lifecycle.reached(Phase::Stopping).await;
        }
        self.drained().await;
    }

    /// Waits until no worker runs.
    pub(crate) async fn drained(&mut self) {
        while self.ended.recv().await.is_some() {}
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.app.lifecycle.enter(Phase::Stopping);
    }
}

struct Worker {
    app: Arc<App>,
    runtime: Handle,
    /// Turns for results that are checked while this worker goes on.
    checks: Arc<Semaphore>,
    /// Held by all who still work.
    alive: mpsc::Sender<()>,
    number: usize,
    name: String,
    /// The inputs of the job that comes next.
    ahead: Ahead,
    /// The end of the job before, while it is under way: one at a time.
    ending: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    fn live(&self, factory: &EngineFactory) {
        // However this thread ends, readiness is to tell.
        let _down = Down(self);
        let loading = Instant::now();
        let engine = match catch_unwind(AssertUnwindSafe(|| factory(self.number))) {
            Ok(Ok(engine)) => engine,
            Ok(Err(error)) => return self.app.lifecycle.worker_failed(self.number, error.to_string()),
            Err(_) => {
                return self
                    .app
                    .lifecycle
                    .worker_failed(self.number, "loading the engine panicked".to_owned());
            }
        };
        let seconds = loading.elapsed().as_secs_f64();
        tracing::info!(worker = self.name, engine = engine.name(), seconds, "ready");
        self.app.lifecycle.set_worker(self.number, WorkerState::Ready);
        while let Some(claim) = self.runtime.block_on(self.next()) {
            self.app.lifecycle.set_worker_job(self.number, claim.job.id);
            if !self.work(&engine, claim, true) {
                break;
            }
        }
        self.runtime.block_on(self.ended());
    }

    /// The next job; `None` when the server is going down.
    async fn next(&self) -> Option<Claim> {
        while self.app.lifecycle.phase() == Phase::Running {
            if self.app.jobs.unwell().is_some() {
                // What could not be ended is not begun.
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = self.app.lifecycle.reached(Phase::Draining) => {}
                }
                continue;
            }
            if let Some(claim) = self.claim(u64::MAX).await {
                return Some(claim);
            }
            tokio::select! {
                () = self.app.jobs.work_ready() => {}
                () = self.app.lifecycle.reached(Phase::Draining) => {}
                // A wake-up may go to another worker that has just died.
                () = tokio::time::sleep(REST) => {}
            }
        }
        None
    }

    /// A job that costs at most `most`, if there is one and the store can be asked.
    async fn claim(&self, most: u64) -> Option<Claim> {
        match self.app.jobs.claim_up_to(most, &self.name, self.app.config.lease.0).await {
            Ok(claim) => claim,
            Err(error) => {
                tracing::error!(worker = self.name, %error, "no job could be claimed");
                tokio::time::sleep(REST).await;
                None
            }
        }
    }

    /// Runs one job until its picture is made, and leaves the end of it to others; false when the device is lost, and no other
    /// can be run. The job is then left alone: its lease lapses, and it goes back to the queue with one try counted.
    ///
    /// `outer`: it is not a small one in the midst of another.
    fn work(&self, engine: &Arc<dyn Engine>, claim: Claim, outer: bool) -> bool {
        let span = tracing::info_span!("job", id = %claim.job.id, key = claim.job.owner, worker = self.name);
        let _entered = span.enter();
        let control = Arc::new(JobControl::new(Instant::now()));
        let beating = control::beat(self.app.clone(), claim.token.clone(), control.clone());
        let beating = Beating(self.runtime.spawn(beating.instrument(span.clone())));
        let made = catch_unwind(AssertUnwindSafe(|| self.compute(engine, &claim, &control, outer)));
        let made = made.unwrap_or_else(|_| Err(Stopped::Fault("the engine panicked".to_owned())));
        control.computed();
        if let Err(Stopped::Fault(reason)) = &made
            && let Err(error) = engine.alive()
        {
            self.app.lifecycle.worker_is_done(self.number, claim.job.id);
            tracing::error!(reason, %error, "the device is lost: this worker ends");
            return false;
        }
        self.runtime.block_on(self.ended());
        let (checks, alive) = (self.checks.clone(), self.alive.clone());
        let ending =
            Ending { app: self.app.clone(), worker: self.number, claim, control, beating, checks, alive };
        let ending = self.runtime.spawn(ending.come(made).instrument(span.clone()));
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
        true
    }

    /// Waits for the end of the job before.
    async fn ended(&self) {
        let before = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before
            && let Err(error) = before.await
        {
            tracing::error!(worker = self.name, %error, "the end of a job broke off; it will be begun again");
        }
    }

    fn compute(
        &self,
        engine: &Arc<dyn Engine>,
        claim: &Claim,
        control: &JobControl,
        outer: bool,
    ) -> Result<Made, Stopped> {
        let prepared = self.runtime.block_on(async {
            tokio::select! {
                prepared = self.prepared(engine, claim, control, outer) => prepared,
                () = control.stop.notified() => Err(Stopped::Cancelled),
            }
        })?;
        if outer {
            self.ahead.start(&self.runtime, &self.app, engine);
        }
        let aside = if outer { Aside::of(self, engine, claim.job.cost) } else { None };
        let watch = Watch { control, aside };
        let transferred = engine.transfer(&prepared.transfer, &watch, &control.cancel);
        let outcome = transferred.map_err(|error| match error {
            pipeline::Error::Picture { .. } | pipeline::Error::Unfit { .. } => {
                Stopped::Input(error.to_string())
            }
            pipeline::Error::Cancelled => Stopped::Cancelled,
            other => Stopped::fault(other),
        })?;
        Ok(Made { task: prepared.task, settings: prepared.transfer.settings, outcome })
    }

    async fn prepared(
        &self,
        engine: &Arc<dyn Engine>,
        claim: &Claim,
        control: &JobControl,
        outer: bool,
    ) -> Result<prepare::Prepared, Stopped> {
        if outer && let Some(prepared) = self.ahead.take(claim.job.id).await {
            return Ok(prepared);
        }
        let (engine, cancel) = (engine.clone(), control.cancel.clone());
        Preparation { app: self.app.clone(), engine, cancel, ahead: false }.of(&claim.job).await
    }
}

/// Says that a worker is gone when its thread ends, for whatever reason.
struct Down<'a>(&'a Worker);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.app.lifecycle.set_worker(self.0.number, WorkerState::Down);
        if std::thread::panicking() {
            tracing::error!(worker = self.0.name, "a worker has broken down");
        }
    }
}
