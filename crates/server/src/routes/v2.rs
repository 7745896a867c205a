//! `POST /v2/{slug}` and what is asked about a job afterwards: `/v2/requests/{id}/status`, `/v2/requests/{id}` (the same as
//! `/v1/requests/{id}`), and `/v2/requests/{id}/cancel`. Polls may wait ([`Wait`]).
//!
//! A failed job is 422 here and nowhere else. Unknown, expired and other people's jobs are all the same 404.

use std::sync::Arc;

use api::response::{Completed, Image, Metrics, Status, Submitted, Timings};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode};
use jobs::{CancelOutcome, Job};
use serde_json::Value;
use uuid::Uuid;

use super::admission::{Accepted, Answered, Manner, accept, account_headers};
use super::extract::{Base, OwnJob, Slug};
use super::follow::Wait;
use super::reading::Dialect;
use crate::failure::{Failure, REQUEST_ID};
use crate::idempotency;
use crate::state::App;
use crate::task::TransferResult;
use crate::webhooks;

/// Queues a transfer.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    Slug(slug): Slug,
    request: Request,
) -> Result<Response, Failure> {
    let (id, late) = (Uuid::new_v4(), app.config.validate_late);
    let manner = Manner { id, late, dialect: Dialect::Own };
    let Accepted { job, base, caller, replayed, .. } = match accept(&app, &slug, request, &manner).await? {
        Answered::Accepted(accepted) => *accepted,
        Answered::Tried(answer) => return Ok(*answer),
    };
    let id = job.id.to_string();
    let answer = Submitted {
        status: "QUEUED",
        status_url: format!("{base}/v2/requests/{id}/status"),
        response_url: format!("{base}/v2/requests/{id}"),
        poll_url: format!("{base}/v1/requests/{id}"),
        events_url: match app.keys.ticket(&job.owner, job.id) {
            Some(ticket) => format!("{base}/v2/requests/{id}/events?ticket={ticket}"),
            None => format!("{base}/v2/requests/{id}/events"),
        },
        queue_position: app.jobs.position(job.id).await.ok().flatten().unwrap_or(0),
        request_id: id,
    };
    let mut response = Json(answer).into_response();
    account_headers(&app, &caller, job.id, response.headers_mut()).await;
    if replayed {
        response.headers_mut().insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Where a job stands.
pub(super) async fn status(
    State(app): State<Arc<App>>,
    OwnJob(job): OwnJob,
    Base(base): Base,
    wait: Wait,
) -> Result<Response, Failure> {
    let job = wait.for_change(&app, job).await?;
    let body = status_of(&app, &job, &base).await?;
    Ok(answer(&job, body))
}

/// The result of a job; its status as long as there is none.
pub(super) async fn result(
    State(app): State<Arc<App>>,
    OwnJob(job): OwnJob,
    Base(base): Base,
    wait: Wait,
) -> Result<Response, Failure> {
    let job = wait.for_end(&app, job).await?;
    if job.state != jobs::State::Completed {
        let body = status_of(&app, &job, &base).await?;
        return Ok(answer(&job, body));
    }
    Ok(answer(&job, completed(&job, &base)?))
}

/// What a program is told of the end of a job: the result, or the status of one that failed.
pub(crate) fn message(job: &Job, base: &str) -> Result<Value, Failure> {
    let message = match job.state {
        jobs::State::Completed => serde_json::to_value(completed(job, base)?),
        _ => serde_json::to_value(standing(job, base)?),
    };
    message.map_err(|_| Failure::internal())
}

fn completed(job: &Job, base: &str) -> Result<Completed, Failure> {
    let result = TransferResult::of(job)?;
    let images: Vec<Image> = result.pictures.iter().map(|picture| image(base, picture)).collect();
    Ok(Completed {
        request_id: job.id.to_string(),
        status: job.state.as_str(),
        output: images.first().map(|image| image.url.clone()).ok_or_else(Failure::internal)?,
        images,
        seed: result.seed.to_string(),
        prompt: result.prompt.clone(),
        timings: Timings {
            inference: result.inference_time,
            stages: result.stages.iter().map(|(stage, seconds)| (stage.clone(), (*seconds).into())).collect(),
        },
        ignored: result.ignored.clone(),
        notes: result.notes.clone(),
        metrics: metrics(job, Some(&result)),
    })
}

/// Stops a job that waits or runs, and answers where it stands: FAILED if it was waiting, PROCESSING for a moment longer if
/// it runs, unchanged if it is over. Asking again changes nothing. Always 200: what was asked for was done.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    OwnJob(job): OwnJob,
    Base(base): Base,
) -> Result<Response, Failure> {
    let id = job.id;
    let outcome = app.jobs.cancel(id).await?;
    if matches!(outcome, CancelOutcome::Cancelled | CancelOutcome::Requested) {
        tracing::info!(%id, ?outcome, "a job was cancelled by its client");
    }
    let job = app.jobs.get(id).await?.ok_or_else(|| Failure::no_request(&id.to_string()))?;
    let body = status_of(&app, &job, &base).await?;
    Ok(with_id(&job, Json(body).into_response()))
}

pub(super) async fn status_of(app: &App, job: &Job, base: &str) -> Result<Status, Failure> {
    let (queue_position, progress) = match job.state {
        jobs::State::Queued => (app.jobs.position(job.id).await?, None),
        jobs::State::Processing => (None, app.jobs.progress(job.id).await?),
        jobs::State::Completed | jobs::State::Failed => (None, None),
    };
    let eta_seconds = app.estimator.seconds(app, job, queue_position, progress).await;
    let webhook = match &job.webhook {
        Some(_) => Some(webhooks::told(app.jobs.notice(job.id).await?.as_deref())),
        None => None,
    };
    Ok(Status { queue_position, progress, eta_seconds, webhook, ..standing(job, base)? })
}

/// What the job itself says about where it stands.
pub(super) fn standing(job: &Job, base: &str) -> Result<Status, Failure> {
    let id = job.id.to_string();
    let failed = job.state == jobs::State::Failed;
    let result = if job.state == jobs::State::Completed { Some(TransferResult::of(job)?) } else { None };
    Ok(Status {
        status: job.state.as_str(),
        status_url: (!failed).then(|| format!("{base}/v2/requests/{id}/status")),
        response_url: (!failed).then(|| format!("{base}/v2/requests/{id}")),
        request_id: id,
        error: failed.then(|| job.error().unwrap_or(crate::failure::INTERNAL).to_owned()),
        queue_position: None,
        progress: None,
        eta_seconds: None,
        webhook: None,
        metrics: metrics(job, result.as_ref()),
    })
}

/// Empty until the job is over; without cost when it failed.
fn metrics(job: &Job, result: Option<&TransferResult>) -> Metrics {
    if !job.state.is_terminal() {
        return Metrics::default();
    }
    let seconds = |span: Option<std::time::Duration>| span.map(|span| span.as_millis() as f64 / 1000.0);
    Metrics {
        inference_time: result.map(|result| result.inference_time).or_else(|| seconds(job.inference_time())),
        queue_time: seconds(job.queue_time()),
        total_time: seconds(job.total_time()),
        cost: result.map(|result| result.cost),
        remaining_credits: result.map(|result| result.remaining_credits),
        retry_count: (job.retry_count > 0).then_some(job.retry_count),
    }
}

fn image(base: &str, picture: &crate::task::StoredPicture) -> Image {
    Image {
        url: super::files::url(base, &picture.key),
        content_type: api::media_type(picture.key.extension()),
        file_name: picture.key.to_string(),
        file_size: picture.bytes.to_string(),
        name: picture.name.clone(),
        width: picture.width,
        height: picture.height,
    }
}

/// 422 for a failed job; and the job's id as the request id, as in the body.
fn answer(job: &Job, body: impl serde::Serialize) -> Response {
    let failed = job.state == jobs::State::Failed;
    let code = if failed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    with_id(job, (code, Json(body)).into_response())
}

pub(super) fn with_id(job: &Job, mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::from_str(&job.id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
