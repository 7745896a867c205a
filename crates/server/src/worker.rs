//! Workers: one OS thread each, owning one engine, taking one job after the other from the store.
//!
//! Beside them pictures are fetched ([`fetching`]), so that a worker finds its inputs on the disk. The thread computes; a small task beside it keeps the lease alive, reports progress and learns of cancellation. A panic
//! in an engine fails that job and the worker goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jobs::{Beat, Claim, LeaseToken};
use pipeline::{Cancel, Engine, Progress};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};
use tracing::Instrument as _;

use crate::checker::CheckStage;
use crate::error::Error;
use crate::fetching;
use crate::lifecycle::{Phase, WorkerState};
use crate::state::App;
use crate::webhooks;

mod ending;
mod run;

use ending::Ending;
use run::Stopped;
pub(crate) use run::within;

/// Makes the engine of the worker of this number, from 0; called on the worker's own thread, which may open a GPU of its own.
pub type EngineFactory =
    Arc<dyn Fn(usize) -> Result<Arc<dyn Engine>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// How often a lease is renewed and progress reported. Beats are not written to disk, so they may come often.
const BEAT: Duration = Duration::from_millis(500);
/// How long a worker rests when the store fails, and how long it sleeps at most if no wake-up comes.
const REST: Duration = Duration::from_secs(1);
/// The results of one worker that are being checked while it goes on. With as many it waits: what the engine makes faster than it
/// can be checked is nobody's gain.
const CHECKED: usize = 32;

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
                checked: Arc::new(Semaphore::new(CHECKED)),
                alive: alive.clone(),
                number,
                name: name.clone(),
            };
            let factory = factory.clone();
            let spawned = std::thread::Builder::new().name(name).spawn(move || worker.live(&factory));
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
    /// Results that may be checked while this worker goes on.
    checked: Arc<Semaphore>,
    /// Held by all who still work.
    alive: mpsc::Sender<()>,
    number: usize,
    name: String,
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
            self.app.lifecycle.set_worker_job(self.number, Some(claim.job.id));
            let goes_on = self.work(&*engine, claim);
            self.app.lifecycle.set_worker_job(self.number, None);
            if !goes_on {
                break;
            }
        }
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
            match self.app.jobs.claim(&self.name, self.app.config.lease.0).await {
                Ok(Some(claim)) => return Some(claim),
                Ok(None) => tokio::select! {
                    () = self.app.jobs.work_ready() => {}
                    () = self.app.lifecycle.reached(Phase::Draining) => {}
                    // A wake-up may go to another worker that has just died.
                    () = tokio::time::sleep(REST) => {}
                },
                Err(error) => {
                    tracing::error!(worker = self.name, %error, "no job could be claimed");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        None
    }

    /// Runs one job; false when the device is lost, and no other can be run. The job is then left alone: its lease lapses, and it goes
    /// back to the queue with one try counted.
    ///
    /// Where the results are to be checked, the next job is begun meanwhile.
    fn work(&self, engine: &dyn Engine, claim: Claim) -> bool {
        let span = tracing::info_span!("job", id = %claim.job.id, key = claim.job.owner, worker = self.name);
        let _entered = span.enter();
        let started = Instant::now();
        let control = Arc::new(JobControl::new(started));
        let beating = beat(self.app.clone(), claim.token.clone(), control.clone());
        let beating = self.runtime.spawn(beating.instrument(span.clone()));
        let attempt = run::Attempt {
            app: &self.app,
            runtime: &self.runtime,
            claim: &claim,
            control: &control,
            started,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| attempt.run(engine)));
        let outcome = outcome.unwrap_or_else(|_| Err(Stopped::Fault("the engine panicked".to_owned())));
        if let Err(Stopped::Fault(reason)) = &outcome
            && let Err(error) = engine.alive()
        {
            beating.abort();
            tracing::error!(reason, %error, "the device is lost: this worker ends");
            return false;
        }
        self.app.metrics.wait.record(claim.job.queue_time().unwrap_or_default());
        let ending = Ending { app: self.app.clone(), claim, control, beating, outcome };
        if self.app.checker_of(CheckStage::Output).is_none() {
            self.runtime.block_on(ending.end());
        } else if let Ok(turn) = self.runtime.block_on(self.checked.clone().acquire_owned()) {
            let alive = self.alive.clone();
            let checking = async move {
                ending.checked().await.end().await;
                drop((turn, alive));
            };
            self.runtime.spawn(checking.instrument(span.clone()));
        }
        true
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

/// What the thread that computes and the task that keeps its lease share.
#[derive(Debug)]
struct JobControl {
    began: Instant,
    /// 0 to 1, as bits.
    progress: AtomicU32,
    cancel: Cancel,
    lost: AtomicBool,
    /// The engine has had its time.
    overtime: AtomicBool,
    /// The engine is done; what is left takes as long as it takes.
    computed: AtomicBool,
    stop: Notify,
}

impl JobControl {
    fn new(began: Instant) -> Self {
        Self {
            began,
            progress: AtomicU32::default(),
            cancel: Cancel::default(),
            lost: AtomicBool::default(),
            overtime: AtomicBool::default(),
            computed: AtomicBool::default(),
            stop: Notify::default(),
        }
    }

    /// Stops the engine before its next step, and a download at once.
    fn stop(&self) {
        self.cancel.raise();
        self.stop.notify_one();
    }

    fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn overtime(&self) -> bool {
        self.overtime.load(Ordering::Relaxed)
    }
}

impl Progress for JobControl {
    fn advance(&self, _stage: &'static str, done: usize, total: usize) {
        let share = if total == 0 { 0.0 } else { (done as f32 / total as f32).clamp(0.0, 1.0) };
        self.progress.store(share.to_bits(), Ordering::Relaxed);
    }
}

/// Keeps the lease until it is aborted, and stops the work when somebody wants that.
async fn beat(app: Arc<App>, token: LeaseToken, control: Arc<JobControl>) {
    let stopping = app.lifecycle.reached(Phase::Stopping);
    tokio::pin!(stopping);
    let mut stopped = false;
    loop {
        let progress = f32::from_bits(control.progress.load(Ordering::Relaxed));
        if control.began.elapsed() >= app.config.job_timeout.0 && !control.computed.load(Ordering::Relaxed) {
            control.overtime.store(true, Ordering::Relaxed);
            control.stop();
        }
        match app.jobs.heartbeat(&token, app.config.lease.0, progress).await {
            Ok(Beat::Continue) => {}
            Ok(Beat::Cancel) => control.stop(),
            Ok(Beat::Lost) => {
                control.lost.store(true, Ordering::Relaxed);
                return control.stop();
            }
            Err(error) => tracing::warn!(%error, "a heartbeat failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = &mut stopping, if !stopped => {
                stopped = true;
                control.stop();
            }
        }
    }
}
