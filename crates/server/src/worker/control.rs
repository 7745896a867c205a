//! What is said to a job while it is computed, and by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobs::{Beat, LeaseToken};
use pipeline::Cancel;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::lifecycle::Phase;
use crate::state::App;

/// How often a lease is renewed and progress reported. Beats are not written to disk, so they may come often.
const BEAT: Duration = Duration::from_millis(500);

/// What the thread that computes and the task that keeps its lease share.
#[derive(Debug)]
pub(super) struct JobControl {
    pub(super) began: Instant,
    /// 0 to 1, as bits.
    progress: AtomicU32,
    pub(super) cancel: Cancel,
    lost: AtomicBool,
    /// The engine has had its time.
    overtime: AtomicBool,
    /// The engine is done, or computes another job; what is left takes as long as it takes.
    untimed: AtomicBool,
    /// How long the engine computed other jobs in between, in milliseconds.
    held: AtomicU64,
    pub(super) stop: Notify,
}

impl JobControl {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            progress: AtomicU32::default(),
            cancel: Cancel::default(),
            lost: AtomicBool::default(),
            overtime: AtomicBool::default(),
            untimed: AtomicBool::default(),
            held: AtomicU64::default(),
            stop: Notify::default(),
        }
    }

    /// Stops the engine before its next step, and a download at once.
    fn stop(&self) {
        self.cancel.raise();
        self.stop.notify_one();
    }

    pub(super) fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn overtime(&self) -> bool {
        self.overtime.load(Ordering::Relaxed)
    }

    /// How far it is.
    pub(super) fn advance(&self, done: usize, total: usize) {
        let share = if total == 0 { 0.0 } else { (done as f32 / total as f32).clamp(0.0, 1.0) };
        self.progress.store(share.to_bits(), Ordering::Relaxed);
    }

    /// The engine is done with it.
    pub(super) fn computed(&self) {
        self.untimed.store(true, Ordering::Relaxed);
    }

    /// How long it was held up by others.
    pub(super) fn held(&self) -> Duration {
        Duration::from_millis(self.held.load(Ordering::Relaxed))
    }

    /// Holds it up for as long as `others` takes, which does not count as its time.
    pub(super) fn hold<T>(&self, others: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        self.untimed.store(true, Ordering::Relaxed);
        let done = others();
        self.held.fetch_add(since.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.untimed.store(false, Ordering::Relaxed);
        done
    }
}

/// The task that keeps a lease; it ends when this is dropped.
pub(super) struct Beating(pub(super) JoinHandle<()>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps the lease until it is aborted, and stops the work when somebody wants that.
pub(super) async fn beat(app: Arc<App>, token: LeaseToken, control: Arc<JobControl>) {
    let stopping = app.lifecycle.reached(Phase::Stopping);
    tokio::pin!(stopping);
    let mut stopped = false;
    loop {
        let progress = f32::from_bits(control.progress.load(Ordering::Relaxed));
        let timed = !control.untimed.load(Ordering::Relaxed);
        if timed && control.began.elapsed().saturating_sub(control.held()) >= app.config.job_timeout.0 {
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
