//! The end of a job whose picture is made: encoded and stored, beside the engine, which computes the next one; checked, where
//! somebody is to be asked; and told to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::Parameters;
use bytes::Bytes;
use jobs::{Blame, BlobKey, Claim, Failure};
use pipeline::{Outcome, Picture, Provenance, Settings};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument as _;

use super::control::{Beating, JobControl};
use crate::checker::{CheckStage, Checked};
use crate::failure::INTERNAL;
use crate::lifecycle::Phase;
use crate::state::App;
use crate::task::{StoredPicture, Task, TransferResult, TransferTask};

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Something about the request; the text is for the client.
    Input(String),
    /// Somebody wanted it to stop.
    Cancelled,
    /// It was done, and may not be had.
    Failed(Failure),
    /// A fault of ours; the text is for the log.
    Fault(String),
}

impl Stopped {
    pub(super) fn fault(error: impl std::fmt::Display) -> Self {
        Self::Fault(error.to_string())
    }
}

/// What the engine has made.
pub(super) struct Made {
    pub(super) task: Box<TransferTask>,
    pub(super) settings: Settings,
    pub(super) outcome: Outcome,
}

/// A result and its files, which are stored.
struct Done {
    result: Value,
    outputs: Vec<BlobKey>,
}

/// A job that the engine is done with.
pub(super) struct Ending {
    pub(super) app: Arc<App>,
    /// The number of its worker.
    pub(super) worker: usize,
    pub(super) claim: Claim,
    pub(super) control: Arc<JobControl>,
    /// Keeps its lease until then.
    pub(super) beating: Beating,
    /// Turns for results that are being checked.
    pub(super) checks: Arc<Semaphore>,
    /// Held by all who still work.
    pub(super) alive: mpsc::Sender<()>,
}

/// What the engine has made, as files, and what it says of it.
struct Written {
    task: Box<TransferTask>,
    files: Vec<Encoded>,
    timings: Vec<(&'static str, Duration)>,
    ignored: Vec<&'static str>,
    notes: Vec<String>,
}

/// A picture as a file.
struct Encoded {
    name: &'static str,
    file: Vec<u8>,
    size: (u32, u32),
}

impl Ending {
    /// Brings it to its end. Where the result is to be checked, that goes on by itself, as long as there are turns left.
    pub(super) async fn come(self, made: Result<Made, Stopped>) {
        let done = match made {
            Ok(made) => self.store(made).await,
            Err(stopped) => Err(stopped),
        };
        let unchecked = self.app.checker_of(CheckStage::Output).is_none() || done.is_err();
        let turn = if unchecked { None } else { self.checks.clone().acquire_owned().await.ok() };
        let Some(turn) = turn else { return self.end(done).await };
        let checking = async move {
            let done = self.checked(done).await;
            self.end(done).await;
            drop(turn);
        };
        tokio::spawn(checking.in_current_span());
    }

    /// The same, or a failure where the result may not be shown.
    async fn checked(&self, done: Result<Done, Stopped>) -> Result<Done, Stopped> {
        let done = done?;
        let checked = tokio::select! {
            checked = self.check(&done) => checked,
            () = self.control.stop.notified() => Err(Stopped::Cancelled),
        };
        match checked {
            Ok(()) => Ok(done),
            Err(stopped) => {
                self.forget(&done.outputs).await;
                Err(stopped)
            }
        }
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

    async fn end(self, done: Result<Done, Stopped>) {
        self.report(done).await;
        drop(self.beating);
        self.app.lifecycle.worker_is_done(self.worker, self.claim.job.id);
        self.app.metrics.run.record(self.control.began.elapsed());
        self.app.metrics.wait.record(self.claim.job.queue_time().unwrap_or_default());
        drop(self.alive);
    }

    /// Reports the outcome to the store. If the disk is at fault that is no fault of the job's: the outcome is kept, and offered
    /// again until it is stored, or the lease is lost, or the server stops (then the job is run once more).
    async fn report(&self, outcome: Result<Done, Stopped>) {
        let control = &self.control;
        let mut logged = false;
        loop {
            let error = match self.try_to_report(&outcome).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if !error.is_disk() || control.lost() || self.app.lifecycle.phase() == Phase::Stopping {
                return tracing::error!(%error, "the end of a job could not be stored; it will be begun again");
            }
            if !std::mem::replace(&mut logged, true) {
                tracing::error!(%error, "the end of a job cannot be stored; it is tried until it can");
            }
            tokio::time::sleep(super::REST).await;
        }
    }

    async fn try_to_report(&self, outcome: &Result<Done, Stopped>) -> jobs::Result<()> {
        let control = &self.control;
        let (jobs, token) = (&self.app.jobs, &self.claim.token);
        let seconds = control.began.elapsed().as_secs_f64();
        let failed = |reason: &str| tracing::warn!(seconds, reason, "job failed");
        match outcome {
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
            Err(Stopped::Cancelled) if self.app.lifecycle.phase() == Phase::Stopping => {
                jobs.release(token).await?;
                tracing::info!(seconds, "job released");
            }
            Err(Stopped::Cancelled) if control.overtime() => {
                let limit = self.app.config.job_timeout;
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

    async fn store(&self, made: Made) -> Result<Done, Stopped> {
        let app = self.app.clone();
        let encoding = tokio::task::spawn_blocking(move || made.encoded(&app)).await;
        let Written { task, files, timings, ignored, notes } = encoding.map_err(Stopped::fault)??;
        let mut pictures = Vec::new();
        for file in files {
            pictures.push(self.store_picture(&task, file).await?);
        }
        let owner = &self.claim.job.owner;
        let stages = timings.into_iter().map(|(stage, span)| (stage.to_owned(), span.as_secs_f64()));
        let result = TransferResult {
            seed: task.seed,
            inference_time: milliseconds(self.control.began),
            stages: stages.collect(),
            ignored: ignored.into_iter().map(str::to_owned).collect(),
            notes: task.notes.into_iter().chain(notes).collect(),
            cost: self.app.cost(owner),
            remaining_credits: self.app.remaining(owner).await,
            prompt: task.parameters.prompt,
            output_format: task.parameters.output_format,
            pictures,
        };
        let outputs = result.pictures.iter().map(|picture| picture.key.clone()).collect();
        Ok(Done { result: serde_json::to_value(result).map_err(Stopped::fault)?, outputs })
    }

    /// Stores a file, and waits for the disk if that is what is at fault: the picture is made, and is not thrown away.
    async fn put(&self, key: &BlobKey, file: Bytes) -> Result<(), Stopped> {
        let mut logged = false;
        loop {
            match self.app.blobs.put(key, file.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_disk() => {
                    if !std::mem::replace(&mut logged, true) {
                        tracing::error!(%error, "a picture cannot be stored; it is tried until it can");
                    }
                }
                Err(error) => return Err(Stopped::fault(error)),
            }
            tokio::time::sleep(super::REST).await;
            self.control.cancel.check().map_err(|_| Stopped::Cancelled)?;
        }
    }

    async fn store_picture(&self, task: &TransferTask, picture: Encoded) -> Result<StoredPicture, Stopped> {
        let Encoded { name, file, size: (width, height) } = picture;
        let key = BlobKey::random(task.parameters.output_format.extension());
        let bytes = file.len();
        self.put(&key, file.into()).await?;
        self.app.metrics.result_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(StoredPicture { key, name: name.to_owned(), width, height, bytes })
    }
}

impl Made {
    /// The pictures as files; the pictures themselves go.
    fn encoded(self, app: &App) -> Result<Written, Stopped> {
        let Self { task, settings, outcome } = self;
        let parameters = &task.parameters;
        let (version, profile) = (app.about().version, app.config.profile.as_str());
        let provenance = Provenance { version, profile, settings: &settings };
        let xmp = parameters.provenance.then(|| provenance.xmp(&outcome));
        let encode = |name: &'static str, picture: &Picture| {
            let (format, quality) = (parameters.output_format, parameters.output_quality);
            let file = picture.encode_with_xmp(format, quality, xmp.as_deref());
            let file = file.map_err(|error| Stopped::Input(format!("output_format: {error}")))?;
            Ok(Encoded { name, file, size: picture.rgb.dimensions() })
        };
        let mut files = vec![encode("output", &outcome.picture)?];
        if parameters.return_intermediate_images {
            for each in &outcome.intermediates {
                files.push(encode(each.name, &each.picture)?);
            }
        }
        let Outcome { timings, ignored, notes, .. } = outcome;
        Ok(Written { task, files, timings, ignored, notes })
    }
}

/// The box for a picture that is at most `wanted` wide and high, never enlarged, and has at most `most` pixels.
pub(crate) fn within((width, height): (u32, u32), wanted: (u32, u32), most: u64) -> (u32, u32) {
    let (w, h) = (f64::from(width), f64::from(height));
    let ratio = (f64::from(wanted.0) / w).min(f64::from(wanted.1) / h).min(1.0);
    let pixels = (w * ratio).round() * (h * ratio).round();
    if pixels <= most as f64 {
        return wanted;
    }
    // Rounded down, so that the product stays below.
    let ratio = ratio * (most as f64 / pixels).sqrt();
    (((w * ratio) as u32).max(1), ((h * ratio) as u32).max(1))
}

/// Seconds since, to the millisecond and never nothing.
fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_millis().max(1) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_has_no_more_pixels_than_it_may() {
        let most = 1920 * 1920;
        assert_eq!(
            within((4000, 3000), (1920, 1920), most),
            (1920, 1920),
            "the default box is always granted"
        );
        assert_eq!(
            within((160, 96), (u32::MAX, u32::MAX), most),
            (u32::MAX, u32::MAX),
            "small ones are not enlarged"
        );
        for size in [(10_000, 10_000), (16_000, 1000), (64, 1_500_000), (4096, 4096), (3000, 2999)] {
            for wanted in [(20_000, 20_000), (i32::MAX as u32, i32::MAX as u32), (5000, 64)] {
                let (width, height) = within(size, wanted, most);
                let ratio = (f64::from(width) / f64::from(size.0))
                    .min(f64::from(height) / f64::from(size.1))
                    .min(1.0);
                let side = |length: u32| (f64::from(length) * ratio).round() as u64;
                assert!(side(size.0) * side(size.1) <= most, "{size:?} {wanted:?}");
                assert!(width <= wanted.0 && height <= wanted.1);
            }
        }
    }
}
