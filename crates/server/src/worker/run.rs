//! One job from claim to result: inputs fetched and decoded, the engine run, the pictures encoded and stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use jobs::{BlobKey, Claim, Failure};
use pipeline::{Engine, Outcome, Picture, PictureError, Pictures, Provenance, Settings, Transfer};
use serde_json::Value;
use tokio::runtime::Handle;

use super::JobControl;
use crate::state::App;
use crate::task::{ImageRef, StoredPicture, Task, TransferResult, TransferTask};

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

/// A result and its files, which are stored.
pub(super) struct Done {
    pub(super) result: Value,
    pub(super) outputs: Vec<BlobKey>,
}

/// One try at a job, on the worker's thread.
pub(super) struct Attempt<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) runtime: &'a Handle,
    pub(super) claim: &'a Claim,
    pub(super) control: &'a JobControl,
    pub(super) started: Instant,
}

impl Attempt<'_> {
    pub(super) fn run(&self, engine: &dyn Engine) -> Result<Done, Stopped> {
        let task = match serde_json::from_value(self.claim.job.payload.clone()).map_err(Stopped::fault)? {
            Task::Transfer(task) => task,
            Task::Refuse(reason) => return Err(Stopped::Input(reason)),
        };
        let files = self.runtime.block_on(async {
            tokio::select! {
                files = self.load_all(&task.pictures) => files,
                () = self.control.stop.notified() => Err(Stopped::Cancelled),
            }
        })?;
        let mut settings = Settings::of(&task.parameters, task.seed);
        let pictures = self.decode(engine, &mut settings, files)?;
        let transfer = Transfer { pictures, settings };
        let outcome =
            engine.transfer(&transfer, self.control, &self.control.cancel).map_err(|error| match error {
                pipeline::Error::Picture { .. } | pipeline::Error::Unfit { .. } => {
                    Stopped::Input(error.to_string())
                }
                pipeline::Error::Cancelled => Stopped::Cancelled,
                other => Stopped::fault(other),
            })?;
        self.control.computed.store(true, Ordering::Relaxed);
        self.store(&task, &transfer.settings, outcome)
    }

    async fn load_all(&self, pictures: &Pictures<ImageRef>) -> Result<Pictures<Bytes>, Stopped> {
        let loads = pictures.iter().map(|(field, image)| self.load(field, image));
        let files = futures::future::try_join_all(loads).await?;
        pictures.places().filled(files).ok_or_else(|| Stopped::fault("a picture was not loaded"))
    }

    async fn load(&self, field: &str, image: &ImageRef) -> Result<Bytes, Stopped> {
        match image {
            ImageRef::Blob(key) => {
                let stored = self.app.blobs.get(key).await.map_err(Stopped::fault)?;
                stored.ok_or_else(|| Stopped::Fault(format!("the input {key} is not in the store")))
            }
            ImageRef::Url(url) => {
                self.app.fetcher.fetch(url).await.map_err(|error| Stopped::Input(format!("{field}: {error}")))
            }
        }
    }

    /// The pictures, no larger than the engine needs them, and the settings held to the server's largest result: within the
    /// budget of all that is being decoded, one after the other, each shrunk before the next.
    fn decode(
        &self,
        engine: &dyn Engine,
        settings: &mut Settings,
        files: Pictures<Bytes>,
    ) -> Result<Pictures<Picture>, Stopped> {
        let decoding = &self.app.decoding;
        let bad = |field: &str, error: PictureError| Stopped::Input(format!("{field}: {error}"));
        let enough = engine.enough(settings);
        // What those leave that are shrunk is small beside what decoding takes; the others stay as they are.
        let (mut most, mut kept) = (0, 0);
        for (field, file) in files.iter() {
            let cost = decoding.cost(file).map_err(|error| bad(field, error))?;
            most = cost.max(most);
            kept += if enough.of(field).is_some() { 0 } else { cost };
        }
        let needed = most.max(kept);
        let _room = self.runtime.block_on(async {
            tokio::select! {
                room = decoding.room(needed) => Ok(room),
                () = self.control.stop.notified() => Err(Stopped::Cancelled),
            }
        })?;
        files.try_map(|field, file| {
            self.control.cancel.check().map_err(|_| Stopped::Cancelled)?;
            let picture = Picture::decode(&file, decoding.limits()).map_err(|error| bad(field, error))?;
            if field == "subject_image" {
                let wanted = (settings.max_width, settings.max_height);
                let most = self.app.config.max_output_pixels;
                (settings.max_width, settings.max_height) = within(picture.rgb.dimensions(), wanted, most);
            }
            Ok(match engine.enough(settings).of(field) {
                Some((width, height)) => picture.shrunk_to_fit(width, height),
                None => picture,
            })
        })
    }

    fn store(&self, task: &TransferTask, settings: &Settings, outcome: Outcome) -> Result<Done, Stopped> {
        let parameters = &task.parameters;
        let (version, profile) = (self.app.about().version, self.app.config.profile.as_str());
        let provenance = Provenance { version, profile, settings };
        let xmp = parameters.provenance.then(|| provenance.xmp(&outcome));
        let intermediates = outcome.intermediates.iter().map(|each| (each.name, &each.picture));
        let wanted = intermediates.filter(|_| parameters.return_intermediate_images);
        let mut pictures = Vec::new();
        for (name, picture) in std::iter::once(("output", &outcome.picture)).chain(wanted) {
            pictures.push(self.store_picture(task, name, picture, xmp.as_deref())?);
        }
        let owner = &self.claim.job.owner;
        let result = TransferResult {
            seed: task.seed,
            prompt: parameters.prompt.clone(),
            output_format: parameters.output_format,
            inference_time: milliseconds(self.started),
            stages: outcome
                .timings
                .iter()
                .map(|(stage, span)| ((*stage).to_owned(), span.as_secs_f64()))
                .collect(),
            ignored: outcome.ignored.iter().map(|name| (*name).to_owned()).collect(),
            notes: task.notes.iter().cloned().chain(outcome.notes).collect(),
            cost: self.app.cost(owner),
            remaining_credits: self.runtime.block_on(self.app.remaining(owner)),
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

    fn store_picture(
        &self,
        task: &TransferTask,
        name: &str,
        picture: &Picture,
        xmp: Option<&str>,
    ) -> Result<StoredPicture, Stopped> {
        let format = task.parameters.output_format;
        let file = picture
            .encode_with_xmp(format, task.parameters.output_quality, xmp)
            .map_err(|error| Stopped::Input(format!("output_format: {error}")))?;
        let key = BlobKey::random(format.extension());
        let bytes = file.len();
        self.runtime.block_on(self.put(&key, file.into()))?;
        self.app.metrics.result_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let (width, height) = picture.rgb.dimensions();
        Ok(StoredPicture { key, name: name.to_owned(), width, height, bytes })
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
