//! `POST /v1/{slug}` and `POST /v2/{slug}`: the checks in their fixed order, then a job in the store.
//!
//! The order decides which of several faults a request is answered with: key, model, limits, content type, size, syntax,
//! parameters. v1 is v2 with the waiting done here ([`wait`](super::wait)).

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::response::Submitted;
use api::{ImageSource, RequestError, TransferRequest};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use jobs::{BlobKey, Job, NewJob};
use pipeline::Picture;
use serde_json::Value;
use uuid::Uuid;

use super::body::{self, Parsing};
use super::wait;
use crate::base_url::base_url;
use crate::config::Permission;
use crate::failure::{Failure, RATE_RESET, REQUEST_ID};
use crate::keys::Caller;
use crate::ledger::ChargeError;
use crate::state::{App, SLUG};
use crate::task::{ImageRef, Task, TransferTask};

/// Random seeds are below this, like those of the hosted model; clients may give larger ones.
const RANDOM_SEEDS: std::ops::RangeInclusive<u64> = 0..=u32::MAX as u64;

type Slug = Result<Path<String>, PathRejection>;

pub(super) async fn v1(
    State(app): State<Arc<App>>,
    slug: Slug,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = accept(&app, slug, request, false).await?;
    wait::for_picture(&app, accepted).await
}

pub(super) async fn v2(
    State(app): State<Arc<App>>,
    slug: Slug,
    request: Request,
) -> Result<Response, Failure> {
    let Accepted { job, parts, base, caller, .. } =
        accept(&app, slug, request, app.config.validate_late).await?;
    let id = job.id.to_string();
    let answer = Submitted {
        status: "QUEUED",
        status_url: format!("{base}/v2/requests/{id}/status"),
        response_url: format!("{base}/v2/requests/{id}"),
        poll_url: format!("{base}/v1/requests/{id}"),
        queue_position: app.jobs.position(job.id).await.ok().flatten().unwrap_or(0),
        request_id: id,
    };
    drop(parts);
    let mut response = Json(answer).into_response();
    account_headers(&app, &caller, job.id, response.headers_mut());
    Ok(response)
}

/// A request that has become a job.
pub(super) struct Accepted {
    pub(super) job: Job,
    pub(super) parts: Parts,
    pub(super) base: String,
    pub(super) caller: Arc<Caller>,
    /// v1: answer JSON with the picture in base64.
    pub(super) base64: bool,
}

/// All checks, then the job. `late` turns bad parameters into a job that fails.
async fn accept(app: &Arc<App>, slug: Slug, request: Request, late: bool) -> Result<Accepted, Failure> {
    let slug = slug.map(|Path(slug)| slug).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let (caller, kind) = match admit(app, &parts, &slug).await {
        Ok(admitted) => admitted,
        Err(failure) => {
            body::discard_body(&parts.headers, body);
            return Err(failure);
        }
    };
    let bytes = body::read(&parts, body, app.config.max_body.0).await?;
    let base = base_url(&app.config, &parts);
    let checked = match body::parse(kind, bytes, &app.schema).await {
        Ok(request) => check_pictures(app, request).await?,
        Err(Parsing::Request(error)) => Err(error),
        Err(Parsing::Failure(failure)) => return Err(failure),
    };
    let (job, base64) = match checked {
        Ok(request) => {
            let base64 = request.base64;
            (enqueue(app, &caller, &base, request).await?, base64)
        }
        Err(error @ RequestError::Fields(_)) if late => {
            let task = Task::Refuse(error.to_string());
            (submit(app, &caller, &task, Vec::new()).await?, false)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Accepted { job, parts, base, caller, base64 })
}

/// Everything that is decided before the body is looked at.
async fn admit(app: &App, parts: &Parts, slug: &str) -> Result<(Arc<Caller>, body::Kind), Failure> {
    let caller = app.keys.admit(&parts.headers, Permission::Transfer)?;
    if app.config.retired_models.iter().any(|retired| retired == slug) {
        return Err(Failure::retired(slug));
    }
    if slug != SLUG {
        return Err(Failure::no_model(slug));
    }
    caller.check_model(slug)?;
    if !app.takes_work() {
        return Err(Failure::unavailable());
    }
    if app.ledger.remaining(&caller.owner) == 0 {
        return Err(Failure::no_credits());
    }
    app.rates.take(&caller.owner, caller.requests_per_minute, Instant::now()).map_err(Failure::rate)?;
    let waiting = app.jobs.counts().await.map_err(|error| Failure::store(&error))?.queued;
    if waiting >= app.config.queue_limit {
        return Err(queue_full(app));
    }
    Ok((caller, body::kind(&parts.headers)?))
}

/// A place in the queue is likely to be free once a job has run.
fn queue_full(app: &App) -> Failure {
    let typical = app.metrics.run.mean().unwrap_or(Duration::from_secs(10));
    let each = typical / u32::try_from(app.config.workers).unwrap_or(1);
    Failure::queue_full(each.clamp(Duration::from_secs(1), Duration::from_secs(120)))
}

/// Decodes inline pictures once, so that a broken one is refused now and not by a failed job.
async fn check_pictures(
    app: &Arc<App>,
    request: TransferRequest,
) -> Result<Result<TransferRequest, RequestError>, Failure> {
    if !matches!(
        (&request.material_image, &request.subject_image),
        (ImageSource::Url(_), ImageSource::Url(_))
    ) {
        let _permit = app.checks.acquire().await.map_err(|_| Failure::unavailable())?;
        let limits = app.config.decode_limits();
        let check = move || {
            for (field, image) in
                [("material_image", &request.material_image), ("subject_image", &request.subject_image)]
            {
                if let ImageSource::Inline(file) = image
                    && let Err(error) = Picture::decode(file, &limits)
                {
                    return Err(RequestError::field(field, error.to_string()));
                }
            }
            Ok(request)
        };
        return tokio::task::spawn_blocking(check).await.map_err(|_| Failure::internal());
    }
    Ok(Ok(request))
}

/// Stores the pictures and the job.
async fn enqueue(app: &App, caller: &Caller, base: &str, request: TransferRequest) -> Result<Job, Failure> {
    let mut inputs = Vec::new();
    let material_image = store_input(app, base, request.material_image, &mut inputs).await?;
    let subject_image = store_input(app, base, request.subject_image, &mut inputs).await?;
    let seed = request.parameters.seed.unwrap_or_else(|| rand::random_range(RANDOM_SEEDS));
    let task = TransferTask { material_image, subject_image, parameters: request.parameters, seed };
    submit(app, caller, &Task::Transfer(Box::new(task)), inputs).await
}

async fn store_input(
    app: &App,
    base: &str,
    image: ImageSource,
    inputs: &mut Vec<BlobKey>,
) -> Result<ImageRef, Failure> {
    let file: Bytes = match image {
        ImageSource::Inline(file) => file.into(),
        // A file of this very server is taken from the shelf: the guard may forbid calling oneself.
        ImageSource::Url(url) => match own_file(app, base, url.as_str()).await? {
            Some(file) => file,
            None => return Ok(ImageRef::Url(url)),
        },
    };
    let extension = api::sniff(&file).and_then(|kind| kind.strip_prefix("image/")).unwrap_or("bin");
    let key = BlobKey::random(extension);
    app.blobs.put(&key, file).await.map_err(|error| Failure::store(&error))?;
    inputs.push(key.clone());
    Ok(ImageRef::Blob(key))
}

async fn own_file(app: &App, base: &str, url: &str) -> Result<Option<Bytes>, Failure> {
    match super::files::key_of(base, url) {
        Some(key) => Ok(super::files::find(app, &key).await?.map(|(file, _)| file)),
        None => Ok(None),
    }
}

/// Charges the key and hands the job to the store; gives all back if that fails.
async fn submit(app: &App, caller: &Caller, task: &Task, inputs: Vec<BlobKey>) -> Result<Job, Failure> {
    let payload: Value = serde_json::to_value(task).map_err(|_| Failure::internal())?;
    let charged = app.ledger.charge(&caller.owner);
    let new = NewJob { id: Uuid::new_v4(), owner: caller.owner.clone(), payload, inputs: inputs.clone() };
    let failure = match charged {
        Ok(()) => match app.jobs.submit(new).await {
            Ok(job) => return Ok(job),
            Err(error) => {
                app.ledger.refund(&caller.owner);
                match error {
                    jobs::Error::QueueFull { .. } => queue_full(app),
                    jobs::Error::Closed => Failure::unavailable(),
                    error => Failure::store(&error),
                }
            }
        },
        Err(ChargeError::Exhausted) => Failure::no_credits(),
        Err(ChargeError::File(error)) => {
            tracing::error!(%error, "a credit could not be charged");
            Failure::internal()
        }
    };
    for key in inputs {
        // Whatever stays is swept away by the store, as no job names it.
        let _ = app.blobs.delete(&key).await;
    }
    Err(failure)
}

/// The headers of an accepted request that are about the key and the job.
pub(super) fn account_headers(app: &App, caller: &Caller, id: Uuid, headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    set(REQUEST_ID, id.to_string());
    set(HeaderName::from_static("x-cost"), app.ledger.cost(&caller.owner).to_string());
    set(HeaderName::from_static("x-remaining-credits"), app.ledger.remaining(&caller.owner).to_string());
    if let Some(wait) = app.rates.until_full(&caller.owner, caller.requests_per_minute) {
        set(RATE_RESET, crate::rate::utc(std::time::SystemTime::now() + wait));
    }
}
