//! The inputs of a job, loaded and decoded: when its turn comes, or ahead of that, while the engine computes another one.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jobs::Job;
use pipeline::{Cancel, Engine, Picture, PictureError, Pictures, Settings, Transfer};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Stopped, within};
use crate::lifecycle::Phase;
use crate::state::App;
use crate::task::{ImageRef, Task, TransferTask};

/// Pictures that stay as large as they are are not decoded ahead if they take more than this, in bytes.
const AHEAD: u64 = 96 << 20;

/// What the engine is to do.
pub(super) struct Prepared {
    pub(super) task: Box<TransferTask>,
    pub(super) transfer: Transfer,
}

/// Who prepares what for whom.
#[derive(Clone)]
pub(super) struct Preparation {
    pub(super) app: Arc<App>,
    pub(super) engine: Arc<dyn Engine>,
    /// Stops it between two pictures.
    pub(super) cancel: Cancel,
    /// Whether it is ahead of its turn, and had better not be if it takes much.
    pub(super) ahead: bool,
}

impl Preparation {
    /// Loads and decodes the inputs of a job.
    pub(super) async fn of(self, job: &Job) -> Result<Prepared, Stopped> {
        let task = match serde_json::from_value(job.payload.clone()).map_err(Stopped::fault)? {
            Task::Transfer(task) => task,
            Task::Refuse(reason) => return Err(Stopped::Input(reason)),
        };
        let files = load_all(&self.app, &task.pictures).await?;
        let settings = Settings::of(&task.parameters, task.seed);
        let transfer = self.decode(settings, files).await?;
        Ok(Prepared { task, transfer })
    }

    /// The pictures, no larger than the engine needs them, and the settings held to the server's largest result: within the
    /// budget of all that is being decoded, one after the other, each shrunk before the next.
    async fn decode(self, mut settings: Settings, files: Pictures<Bytes>) -> Result<Transfer, Stopped> {
        let decoding = self.app.decoding.clone();
        let enough = self.engine.enough(&settings);
        // What those leave that are shrunk is small beside what decoding takes; the others stay as they are.
        let (mut most, mut kept) = (0, 0);
        for (field, file) in files.iter() {
            let cost = decoding.cost(file).map_err(|error| bad(field, &error))?.bytes;
            most = cost.max(most);
            kept += if enough.of(field).is_some() { 0 } else { cost };
        }
        if self.ahead && kept > AHEAD {
            return Err(Stopped::Cancelled);
        }
        let room = decoding.room(most.max(kept)).await;
        let decoded = tokio::task::spawn_blocking(move || {
            // Of the work, and not of who waits for it.
            let _room = room;
            let pictures = files.try_map(|field, file| {
                self.cancel.check().map_err(|_| Stopped::Cancelled)?;
                self.picture(field, &file, &mut settings)
            })?;
            Ok(Transfer { pictures, settings })
        });
        decoded.await.map_err(Stopped::fault)?
    }

    fn picture(&self, field: &str, file: &[u8], settings: &mut Settings) -> Result<Picture, Stopped> {
        let limits = self.app.decoding.limits();
        let picture = Picture::decode(file, limits).map_err(|error| bad(field, &error))?;
        if field == "subject_image" {
            let wanted = (settings.max_width, settings.max_height);
            let most = self.app.config.max_output_pixels;
            (settings.max_width, settings.max_height) = within(picture.rgb.dimensions(), wanted, most);
        }
        Ok(match self.engine.enough(settings).of(field) {
            Some((width, height)) => picture.shrunk_to_fit(width, height),
            None => picture,
        })
    }
}

fn bad(field: &str, error: &PictureError) -> Stopped {
    Stopped::Input(format!("{field}: {error}"))
}

async fn load_all(app: &App, pictures: &Pictures<ImageRef>) -> Result<Pictures<Bytes>, Stopped> {
    let loads = pictures.iter().map(|(field, image)| load(app, field, image));
    let files = futures::future::try_join_all(loads).await?;
    pictures.places().filled(files).ok_or_else(|| Stopped::fault("a picture was not loaded"))
}

async fn load(app: &App, field: &str, image: &ImageRef) -> Result<Bytes, Stopped> {
    match image {
        ImageRef::Blob(key) => {
            let stored = app.blobs.get(key).await.map_err(Stopped::fault)?;
            stored.ok_or_else(|| Stopped::Fault(format!("the input {key} is not in the store")))
        }
        ImageRef::Url(url) => {
            app.fetcher.fetch(url).await.map_err(|error| Stopped::Input(format!("{field}: {error}")))
        }
    }
}

/// The inputs of the job that comes next, as things stand, for one worker. Nothing is claimed for it: if another job comes
/// next after all, or the process ends, nothing but the work is lost.
#[derive(Default)]
pub(super) struct Ahead(Mutex<Option<Guess>>);

struct Guess {
    id: Arc<Mutex<Option<Uuid>>>,
    cancel: Cancel,
    work: JoinHandle<Option<Prepared>>,
}

impl Drop for Guess {
    fn drop(&mut self) {
        self.cancel.raise();
        self.work.abort();
    }
}

impl Ahead {
    /// Begins with the job that comes next, as soon as there is one.
    pub(super) fn start(&self, runtime: &Handle, app: &Arc<App>, engine: &Arc<dyn Engine>) {
        let (id, cancel) = (Arc::<Mutex<Option<Uuid>>>::default(), Cancel::default());
        let preparation =
            Preparation { app: app.clone(), engine: engine.clone(), cancel: cancel.clone(), ahead: true };
        let (app, guessed) = (app.clone(), id.clone());
        let work = runtime.spawn(async move {
            let job = loop {
                tokio::select! {
                    () = app.jobs.work_ready() => {}
                    () = app.lifecycle.reached(Phase::Draining) => return None,
                }
                if let Some(job) = app.jobs.next_up().await.ok()? {
                    break job;
                }
            };
            *guessed.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.id);
            // What is wrong with it is found again, and told, when its turn has come.
            preparation.of(&job).await.ok()
        });
        *self.guess() = Some(Guess { id, cancel, work });
    }

    /// What is ready for this job, or will be soon.
    pub(super) async fn take(&self, id: Uuid) -> Option<Prepared> {
        let mut guess = self.guess().take()?;
        let guessed = *guess.id.lock().unwrap_or_else(PoisonError::into_inner);
        if guessed == Some(id) { (&mut guess.work).await.ok().flatten() } else { None }
    }

    fn guess(&self) -> std::sync::MutexGuard<'_, Option<Guess>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
