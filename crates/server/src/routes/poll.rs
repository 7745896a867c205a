//! Polling: `/v2/requests/{id}/status`, `/v2/requests/{id}` and `/v1/requests/{id}`.
//!
//! A failed job is 422 here and nowhere else. Unknown, expired and other people's jobs are all the same 404. The key is
//! checked before the id, because clients probe keys with an id that cannot exist.

use std::sync::Arc;

use api::response::{Completed, Image, Metrics, Status, Timings};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode};
use jobs::Job;
use uuid::Uuid;

use crate::base_url::base_url;
use crate::config::Permission;
use crate::failure::{Failure, REQUEST_ID};
use crate::state::App;
use crate::task::TransferResult;

type Id = Result<Path<String>, PathRejection>;

pub(super) async fn status(
    State(app): State<Arc<App>>,
    id: Id,
    request: Request,
) -> Result<Response, Failure> {
    let (job, base) = find(&app, id, request).await?;
    let body = status_of(&app, &job, &base).await?;
    Ok(answer(&job, body))
}

pub(super) async fn result(
    State(app): State<Arc<App>>,
    id: Id,
    request: Request,
) -> Result<Response, Failure> {
    let (job, base) = find(&app, id, request).await?;
    if job.state != jobs::State::Completed {
        let body = status_of(&app, &job, &base).await?;
        return Ok(answer(&job, body));
    }
    let result = TransferResult::of(&job)?;
    let images: Vec<Image> = result.pictures.iter().map(|picture| image(&base, picture)).collect();
    let body = Completed {
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
        metrics: metrics(&job, Some(&result)),
    };
    Ok(answer(&job, body))
}

/// The caller's own job under that id.
async fn find(app: &App, id: Id, request: Request) -> Result<(Arc<Job>, String), Failure> {
    let (parts, _) = request.into_parts();
    let caller = app.keys.admit(&parts.headers, Permission::Read)?;
    let text = id.map(|Path(id)| id).unwrap_or_default();
    // What comes back is no longer than an id could be.
    let unknown = || Failure::no_request(&text.chars().take(64).collect::<String>());
    let id = Uuid::try_parse(&text).map_err(|_| unknown())?;
    let job = app.jobs.get(id).await.map_err(|error| Failure::store(&error))?;
    let job = job.filter(|job| job.owner == caller.owner).ok_or_else(unknown)?;
    Ok((job, base_url(&app.config, &parts)))
}

async fn status_of(app: &App, job: &Job, base: &str) -> Result<Status, Failure> {
    let id = job.id.to_string();
    let failed = job.state == jobs::State::Failed;
    let store = |error: jobs::Error| Failure::store(&error);
    let (queue_position, progress) = match job.state {
        jobs::State::Queued => (app.jobs.position(job.id).await.map_err(store)?, None),
        jobs::State::Processing => (None, app.jobs.progress(job.id).await.map_err(store)?),
        jobs::State::Completed | jobs::State::Failed => (None, None),
    };
    let result = if job.state == jobs::State::Completed { Some(TransferResult::of(job)?) } else { None };
    Ok(Status {
        status: job.state.as_str(),
        status_url: (!failed).then(|| format!("{base}/v2/requests/{id}/status")),
        response_url: (!failed).then(|| format!("{base}/v2/requests/{id}")),
        request_id: id,
        error: failed.then(|| job.error().unwrap_or(crate::failure::INTERNAL).to_owned()),
        queue_position,
        progress,
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
    let mut response = (code, Json(body)).into_response();
    if let Ok(id) = HeaderValue::from_str(&job.id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
