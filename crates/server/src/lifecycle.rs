//! The server's lifecycle: how far it is with going down, how its workers are, and which calls still wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

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

impl WorkerState {
    /// The word for it in answers and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Down => "down",
        }
    }
}

/// A worker of this node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worker {
    pub(crate) state: WorkerState,
    /// The job it runs.
    pub(crate) job: Option<Uuid>,
}

/// The phase, the workers and the waiting calls of one server.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    phase: watch::Sender<Phase>,
    workers: Mutex<Vec<Worker>>,
    /// Why an engine could not be loaded.
    load_error: Mutex<String>,
    /// How many calls wait for a picture.
    calls: watch::Sender<usize>,
}

impl Lifecycle {
    /// Of a server that takes work, whose workers are about to load their engines.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
            workers: Mutex::new(vec![Worker { state: WorkerState::Loading, job: None }; workers]),
            load_error: Mutex::default(),
            calls: watch::Sender::new(0),
        }
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

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_worker(&self, number: usize, state: WorkerState) {
        if let Some(worker) = self.workers().get_mut(number) {
            worker.state = state;
        }
    }

    /// Notes what a worker runs.
    pub(crate) fn set_worker_job(&self, number: usize, job: Uuid) {
        if let Some(worker) = self.workers().get_mut(number) {
            worker.job = Some(job);
        }
    }

    /// Notes that a worker's job is over, if it has no other one by now.
    pub(crate) fn worker_is_done(&self, number: usize, job: Uuid) {
        if let Some(worker) = self.workers().get_mut(number)
            && worker.job == Some(job)
        {
            worker.job = None;
        }
    }

    /// The workers of this node.
    pub(crate) fn own_workers(&self) -> Vec<Worker> {
        self.workers().clone()
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

    /// Waits until no call waits for a picture.
    pub(crate) async fn calls_answered(&self) {
        // The sender lives in `self`, so it cannot be gone.
        let _ = self.calls.subscribe().wait_for(|calls| *calls == 0).await;
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

    /// Why this node's workers do not make it ready, if they do not. A node without any is ready: others may work.
    pub(crate) fn workers_unready(&self) -> Option<&'static str> {
        let workers = self.workers();
        if workers.is_empty() {
            return None;
        }
        let any = |state| workers.iter().any(|worker| worker.state == state);
        match (any(WorkerState::Ready), any(WorkerState::Loading), any(WorkerState::Down)) {
            (true, _, false) => None,
            (true, _, true) => Some("a worker has stopped; the log says why"),
            (false, true, _) => Some("the model is being loaded"),
            (false, false, _) => Some("no worker is running; the log says why"),
        }
    }

    /// May work be queued? While the model is loaded it may; once all workers are down it may not.
    pub(crate) fn takes_work(&self) -> bool {
        let workers = self.workers();
        let down = workers.iter().all(|worker| worker.state == WorkerState::Down);
        self.phase() == Phase::Running && (!down || workers.is_empty())
    }
}
