//! The end of a job: what the checker says of its pictures, and how it is told to the store.

use std::sync::Arc;

use api::Parameters;
use jobs::{Blame, BlobKey, Claim};
use tokio::task::JoinHandle;

use super::run::{Done, Stopped};
use super::{JobControl, REST};
use crate::checker::{CheckStage, Checked};
use crate::failure::INTERNAL;
use crate::lifecycle::Phase;
use crate::state::App;
use crate::task::{Task, TransferResult};

/// A job that was run, and what has come of it.
pub(super) struct Ending {
    pub(super) app: Arc<App>,
    pub(super) claim: Claim,
    pub(super) control: Arc<JobControl>,
    /// Keeps the lease.
    pub(super) beating: JoinHandle<()>,
    pub(super) outcome: Result<Done, Stopped>,
}

impl Ending {
    /// The same, or a failure where the result may not be shown.
    pub(super) async fn checked(mut self) -> Self {
        let Ok(done) = &self.outcome else { return self };
        let checked = tokio::select! {
            checked = self.check(done) => checked,
            () = self.control.stop.notified() => Err(Stopped::Cancelled),
        };
        if let Err(stopped) = checked {
            self.forget(&done.outputs).await;
            self.outcome = Err(stopped);
        }
        self
    }

    /// Asks whether the pictures may be shown, where somebody is to be asked.
    async fn check(&self, done: &Done) -> Result<(), Stopped> {
        let stage = CheckStage::Output;
        let Some(checker) = self.app.checker_of(stage) else { return Ok(()) };
        let job = &self.claim.job;
        let task = serde_json::from_value(job.payload.clone()).map_err(Stopped::fault)?;
        let Task::Transfer(task) = task else { return Ok(()) };
        let Parameters { prompt, negative_prompt, .. } = &task.parameters;
        let result: TransferResult = serde_json::from_value(done.result.clone()).map_err(Stopped::fault)?;
        let pictures = result.pictures.iter().map(|picture| (picture.name.as_str(), &picture.key)).collect();
        let checked = Checked { job, prompt, negative_prompt, stage, pictures };
        checker.check(&self.app, &checked).await.map_err(Stopped::Failed)
    }

    /// Deletes files that no job names; if they stay, the store sweeps them away in time.
    async fn forget(&self, outputs: &[BlobKey]) {
        for key in outputs {
            let _ = self.app.blobs.delete(key).await;
        }
    }

    /// Reports the outcome to the store. If the disk is at fault that is no fault of the job's: the outcome is kept, and offered
    /// again until it is stored, or the lease is lost, or the server stops (then the job is run once more).
    pub(super) async fn end(self) {
        let mut logged = false;
        loop {
            let error = match self.try_to_end().await {
                Ok(()) => break,
                Err(error) => error,
            };
            if !error.is_disk() || self.control.lost() || self.app.lifecycle.phase() == Phase::Stopping {
                tracing::error!(%error, "the end of a job could not be stored; it will be begun again");
                break;
            }
            if !std::mem::replace(&mut logged, true) {
                tracing::error!(%error, "the end of a job cannot be stored; it is tried until it can");
            }
            tokio::time::sleep(REST).await;
        }
        self.beating.abort();
        self.app.metrics.run.record(self.control.began.elapsed());
    }

    async fn try_to_end(&self) -> jobs::Result<()> {
        let Self { app, control, .. } = self;
        let (jobs, token) = (&app.jobs, &self.claim.token);
        let seconds = control.began.elapsed().as_secs_f64();
        let failed = |reason: &str| tracing::warn!(seconds, reason, "job failed");
        match &self.outcome {
            Ok(done) => match jobs.complete(token, done.result.clone(), done.outputs.clone()).await {
                Ok(()) => tracing::info!(seconds, "job completed"),
                Err(error) if error.is_disk() => return Err(error),
                Err(error) => {
                    self.forget(&done.outputs).await;
                    tracing::error!(%error, "a result could not be stored");
                    jobs.fail(token, jobs::Failure::server(INTERNAL)).await?;
                }
            },
            Err(Stopped::Cancelled) if control.lost() => tracing::warn!("the lease was lost"),
            Err(Stopped::Cancelled) if app.lifecycle.phase() == Phase::Stopping => {
                jobs.release(token).await?;
                tracing::info!(seconds, "job released");
            }
            Err(Stopped::Cancelled) if control.overtime() => {
                let limit = app.config.job_timeout;
                let text = format!("Request timed out: it took longer than this server allows ({limit})");
                jobs.fail(token, jobs::Failure::new(Blame::Overtime, &text)).await?;
                failed(&text);
            }
            Err(Stopped::Cancelled) => {
                jobs.fail(token, jobs::Failure::cancelled()).await?;
                tracing::info!(seconds, "job cancelled");
            }
            Err(Stopped::Input(text)) => {
                jobs.fail(token, jobs::Failure::client(text)).await?;
                failed(text);
            }
            Err(Stopped::Failed(failure)) => {
                jobs.fail(token, failure.clone()).await?;
                failed(&failure.reason);
            }
            Err(Stopped::Fault(reason)) => {
                jobs.fail(token, jobs::Failure::server(INTERNAL)).await?;
                failed(reason);
            }
        }
        Ok(())
    }
}
