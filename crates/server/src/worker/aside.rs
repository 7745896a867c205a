//! Small jobs that are computed while a large one is: on the same engine and the same thread, in between two of its steps. The
//! large one keeps what it has, so it comes out the same, and it has the engine for at least half of the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pipeline::{Engine, Progress};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Worker;
use super::control::JobControl;
use crate::effort;
use crate::lifecycle::Phase;
use crate::state::App;

/// A job counts as small beside one that costs so many times as much.
const TIMES: u64 = 4;

/// Watches a job for those that are interested in it, and lets small ones go first.
pub(super) struct Watch<'a> {
    pub(super) control: &'a JobControl,
    pub(super) aside: Option<Aside<'a>>,
}

impl Progress for Watch<'_> {
    fn advance(&self, _stage: &'static str, done: usize, total: usize) {
        self.control.advance(done, total);
        if let Some(aside) = &self.aside {
            aside.let_go_first(self.control);
        }
    }
}

/// The small jobs beside a large one.
pub(super) struct Aside<'a> {
    worker: &'a Worker,
    engine: &'a Arc<dyn Engine>,
    /// What a small job costs at most.
    most: u64,
    bell: Arc<Bell>,
    watching: JoinHandle<()>,
    /// Held while a small one is computed.
    busy: Mutex<()>,
}

/// Rung when a small job waits.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    heard: Notify,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl<'a> Aside<'a> {
    /// Looks out for small jobs beside one that costs `cost`, if the engine and the settings allow for any.
    pub(super) fn of(worker: &'a Worker, engine: &'a Arc<dyn Engine>, cost: u64) -> Option<Self> {
        let most = most(worker.app.config.overtaking_pixels, cost)?;
        if !engine.interruptible() {
            return None;
        }
        let bell = Arc::new(Bell::default());
        let watching = worker.runtime.spawn(watch(worker.app.clone(), bell.clone(), most));
        Some(Self { worker, engine, most, bell, watching, busy: Mutex::default() })
    }

    /// Computes small jobs as long as some wait, and the large one has had the engine for longer than they.
    fn let_go_first(&self, control: &JobControl) {
        if !self.bell.rung.load(Ordering::Relaxed) {
            return;
        }
        // Some engine may tell from two threads at once.
        let Ok(_busy) = self.busy.try_lock() else { return };
        while self.may(control) {
            let begun = Instant::now();
            let worker = self.worker;
            let claim = worker.runtime.block_on(worker.claim(self.most));
            let Some(claim) = claim else {
                self.bell.rung.store(false, Ordering::Relaxed);
                return self.bell.heard.notify_one();
            };
            tracing::debug!(id = %claim.job.id, "a small job goes first");
            if !control.hold(|| worker.work(self.engine, claim, false)) {
                // The device is lost, as the large job is about to find out.
                return;
            }
            tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "the large job goes on");
        }
    }

    fn may(&self, control: &JobControl) -> bool {
        let own = control.began.elapsed().saturating_sub(control.held());
        self.worker.app.lifecycle.phase() == Phase::Running
            && !control.cancel.is_raised()
            && control.held() <= own
    }
}

/// What a job may cost at most that is computed beside one of this cost; `None` if there can be none.
fn most(pixels: u64, cost: u64) -> Option<u64> {
    (pixels > 0).then(|| effort::usual(pixels).min(cost / TIMES))
}

async fn watch(app: Arc<App>, bell: Arc<Bell>, most: u64) {
    loop {
        app.jobs.work_ready_up_to(most).await;
        bell.rung.store(true, Ordering::Relaxed);
        bell.heard.notified().await;
    }
}
