//! From a request to a job in the store: the checks in their fixed order.
//!
//! The order decides which of several faults a request is answered with: key, model, limits, content type, size, syntax,
//! parameters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{ImageSource, RequestError, TransferRequest};
use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use jobs::{BlobKey, Idempotency, Job, NewJob};
use serde_json::Value;
use uuid::Uuid;

use super::reading::{Dialect, Read, Refusal, check_pictures, parse};
use super::{body, dry_run};
use crate::base_url::{self, base_url};
use crate::checker::CheckStage;
use crate::effort::Seen;
use crate::failure::{Failure, RATE_RESET, REQUEST_ID};
use crate::idempotency;
use crate::keys::{Admitted, Caller, Transfer};
use crate::state::{App, SLUG};
use crate::task::{ImageRef, Task, TransferTask, size_of};
use crate::unclaimed::Unclaimed;
use crate::webhooks;

/// What has become of a request.
pub(super) enum Answered {
    /// It is a job.
    Accepted(Box<Accepted>),
    /// It was only to be tried.
    Tried(Box<Response>),
}

/// A request that has become a job.
pub(super) struct Accepted {
    pub(super) job: Arc<Job>,
    pub(super) parts: Parts,
    pub(super) base: String,
    pub(super) caller: Admitted<Transfer>,
    /// v1: answer JSON with the picture in base64.
    pub(super) base64: bool,
    /// Whether it had become one before.
    pub(super) replayed: bool,
}

/// How a request is taken in.
pub(super) struct Manner {
    /// The id of the job that it becomes.
    pub(super) id: Uuid,
    /// Whether bad parameters make a job that fails.
    pub(super) late: bool,
    pub(super) dialect: Dialect,
}

/// All checks, then the job.
pub(super) async fn accept(
    app: &Arc<App>,
    slug: &str,
    request: Request,
    manner: &Manner,
) -> Result<Answered, Failure> {
    let Manner { id, late, dialect } = *manner;
    let (parts, body) = request.into_parts();
    let admission = match admit(app, &parts, slug).await {
        Ok(admitted) => admitted,
        Err(failure) => {
            body::discard_body(&parts.headers, body);
            return Err(failure);
        }
    };
    let Admission { caller, client, kind, key } = admission;
    let held = body::read(app, &client, &parts, body).await?;
    let base = base_url(&app.config, &parts);
    let mut new = new_job(app, id, &caller, client);
    let (job, base64) = match parse(app, kind, dialect, held, key.is_some()).await {
        Ok(read) if read.request.control.dry_run => {
            let tried = dry_run::check(app, &base, read, &new).await?;
            return Ok(Answered::Tried(Box::new(Json(tried).into_response())));
        }
        Ok(read) => {
            new.idempotency = key.zip(read.digest.clone()).map(|(key, digest)| Idempotency { key, digest });
            let base64 = read.request.control.base64;
            match replay(app, &new).await? {
                Some(job) => (job, base64),
                None => (take_in(app, &base, read, new, late).await?, base64),
            }
        }
        Err(refusal) => (take_in_refused(app, refusal, new, key, late).await?, false),
    };
    let replayed = job.id != id;
    Ok(Answered::Accepted(Box::new(Accepted { job, parts, base, caller, base64, replayed })))
}

/// The job that the client has submitted under the same idempotency key.
async fn replay(app: &App, new: &NewJob) -> Result<Option<Arc<Job>>, Failure> {
    let Some(given) = &new.idempotency else { return Ok(None) };
    match app.jobs.by_idempotency_key(&new.client, &given.key).await? {
        Some(job) if job.idempotency.as_ref() == Some(given) => Ok(Some(job)),
        Some(job) => Err(jobs::Error::KeyReused { id: job.id }.into()),
        None => Ok(None),
    }
}

/// Checks and stores the pictures, and makes the job.
async fn take_in(
    app: &Arc<App>,
    base: &str,
    read: Read,
    mut new: NewJob,
    late: bool,
) -> Result<Arc<Job>, Failure> {
    let webhook = webhooks::wanted(app, base, read.request.control.webhook_url.as_ref());
    let checked = match webhook {
        Ok(webhook) => {
            new.webhook = webhook;
            check_pictures(app, read).await
        }
        Err(error) => Err(error.into()),
    };
    let Read { request, share, mut seen, .. } = match checked {
        Ok(read) => read,
        Err(refusal) => {
            let key = new.idempotency.take().map(|idempotency| idempotency.key);
            return take_in_refused(app, refusal, new, key, late).await;
        }
    };
    let mut inputs = Unclaimed::new(&app.blobs);
    let task = store(app, base, request, &mut inputs, &mut seen).await?;
    drop(share); // the pictures are on disk
    // Some are still to be fetched, or all to be checked.
    new.wanting = app.checker_of(CheckStage::Input).is_some()
        || task.pictures.iter().any(|(_, image)| matches!(image, ImageRef::Url(_)));
    new.cost = seen.effort(&task.parameters, app.config.max_output_pixels);
    new.payload = payload(&Task::Transfer(Box::new(task)))?;
    new.inputs.clone_from(&inputs.keys);
    let id = new.id;
    let job = submit(app, new).await?;
    // Of two that come at once under one key, one is the job; the other one's files go.
    if job.id == id {
        inputs.claimed();
    }
    Ok(job)
}

/// Answers a request that is no transfer; `late` makes a job of it that fails.
async fn take_in_refused(
    app: &App,
    refusal: Refusal,
    mut new: NewJob,
    key: Option<String>,
    late: bool,
) -> Result<Arc<Job>, Failure> {
    match refusal {
        Refusal::Request(error @ RequestError::Fields(_)) if late => {
            let reason = error.to_string();
            let digest = idempotency::digest_of_refusal(&reason);
            new.idempotency = key.map(|key| Idempotency { key, digest });
            new.payload = payload(&Task::Refuse(reason))?;
            submit(app, new).await
        }
        Refusal::Request(error) => Err(error.into()),
        Refusal::Failure(failure) => Err(failure),
    }
}

/// Who wants something, and what it is sent in.
struct Admission {
    caller: Admitted<Transfer>,
    client: String,
    kind: body::Kind,
    /// The idempotency key.
    key: Option<String>,
}

/// Everything that is decided before the body is looked at.
async fn admit(app: &App, parts: &Parts, slug: &str) -> Result<Admission, Failure> {
    let address = base_url::client(&app.config, parts);
    let caller: Admitted<Transfer> = app.keys.admit(&parts.headers, address)?;
    if app.config.retired_models.iter().any(|retired| retired == slug) {
        return Err(Failure::retired(slug));
    }
    if slug != SLUG {
        return Err(Failure::no_model(slug));
    }
    caller.check_model(slug)?;
    if !app.lifecycle.takes_work() {
        return Err(Failure::unavailable());
    }
    let client = app.keys.client(&caller, address);
    let key = idempotency::key(&parts.headers)?;
    let known = match &key {
        Some(key) => app.jobs.by_idempotency_key(&client, key).await?.is_some(),
        None => false,
    };
    // What was accepted before takes no credit and no place in the queue.
    if !known && app.remaining(&caller.owner).await == 0 {
        return Err(Failure::no_credits());
    }
    if app.jobs.unwell().is_some() {
        return Err(Failure::disk());
    }
    app.rates.take(&caller.owner, caller.requests_per_minute, Instant::now()).map_err(Failure::rate)?;
    if !known {
        check_queue(app, &client).await?;
    }
    Ok(Admission { caller, client, kind: body::kind(&parts.headers)?, key })
}

/// Room for one more.
async fn check_queue(app: &App, client: &str) -> Result<(), Failure> {
    let waiting = app.jobs.counts().await?.queued;
    let own = app.jobs.waiting_of(client).await?;
    if waiting >= app.config.queue_limit || own >= app.config.queue_limit_per_key {
        return Err(queue_full(app));
    }
    Ok(())
}

/// A place in the queue gets free whenever a job has run; who is turned away later is told to come later.
fn queue_full(app: &App) -> Failure {
    let typical = app.metrics.run.mean().unwrap_or(Duration::from_secs(10));
    let each = typical / u32::try_from(app.config.workers).unwrap_or(1);
    let each = each.clamp(Duration::from_millis(100), Duration::from_secs(120));
    Failure::queue_full(app.turnstile.wait(each, Instant::now()))
}

/// A job of a caller's with nothing to do yet.
fn new_job(app: &App, id: Uuid, caller: &Admitted<Transfer>, client: String) -> NewJob {
    let credits = app.quotas.get(&caller.owner).copied();
    NewJob {
        id,
        owner: caller.owner.clone(),
        client,
        priority: caller.priority,
        credits,
        ..NewJob::default()
    }
}

/// Stores the pictures; returns what is to be done with them, and those that are still to be fetched.
async fn store(
    app: &App,
    base: &str,
    request: TransferRequest,
    inputs: &mut Unclaimed,
    seen: &mut Seen,
) -> Result<TransferTask, Failure> {
    let places = request.pictures.places();
    let mut stored = Vec::new();
    // Each is let go of once it is stored.
    for picture in request.pictures {
        stored.push(store_input(app, base, picture, &mut inputs.keys, seen).await?);
    }
    let pictures = places.filled(stored).ok_or_else(Failure::internal)?;
    let seed = pipeline::Settings::seed_of(&request.parameters);
    let (parameters, notes) = (request.parameters, request.control.notes);
    Ok(TransferTask { pictures, parameters, seed, notes })
}

fn payload(task: &Task) -> Result<Value, Failure> {
    serde_json::to_value(task).map_err(|_| Failure::internal())
}

async fn store_input(
    app: &App,
    base: &str,
    (field, image): (&str, ImageSource),
    inputs: &mut Vec<BlobKey>,
    seen: &mut Seen,
) -> Result<ImageRef, Failure> {
    let file: Bytes = match image {
        ImageSource::Inline(file) => file.into(),
        // A file of this very server is taken from the shelf: the guard may forbid calling oneself.
        ImageSource::Url(url) => {
            let own = super::files::key_of(base, url.as_str());
            let kept = match &own {
                Some(own) => app.jobs.by_output(own).await?,
                None => None,
            };
            let (Some(own), Some(job)) = (own, kept) else { return Ok(ImageRef::Url(url)) };
            let key = BlobKey::random(own.extension());
            inputs.push(key.clone());
            if app.blobs.link(&own, &key).await? {
                if let Some(size) = size_of(&job, &own) {
                    seen.note(field, size);
                }
                return Ok(ImageRef::Blob(key));
            }
            inputs.pop();
            return Ok(ImageRef::Url(url));
        }
    };
    let key = BlobKey::random(api::extension_of(&file));
    inputs.push(key.clone());
    app.blobs.put(&key, file).await?;
    Ok(ImageRef::Blob(key))
}

/// Hands the job to the store, which takes the credit in the same step.
async fn submit(app: &App, new: NewJob) -> Result<Arc<Job>, Failure> {
    app.jobs.submit(new).await.map_err(|error| match error {
        jobs::Error::QueueFull { .. } | jobs::Error::ClientFull { .. } => queue_full(app),
        error => error.into(),
    })
}

/// The headers of an accepted request that are about the key and the job.
pub(super) async fn account_headers(app: &App, caller: &Caller, id: Uuid, headers: &mut HeaderMap) {
    let remaining = app.remaining(&caller.owner).await;
    let mut set = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    set(REQUEST_ID, id.to_string());
    set(HeaderName::from_static("x-cost"), app.cost(&caller.owner).to_string());
    set(HeaderName::from_static("x-remaining-credits"), remaining.to_string());
    if let Some(wait) = app.rates.until_full(&caller.owner, caller.requests_per_minute) {
        set(RATE_RESET, crate::rate::utc(std::time::SystemTime::now() + wait));
    }
}
