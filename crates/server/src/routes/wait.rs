//! The waiting of v1: hold the connection until the job is over, then answer with the picture.
//!
//! Meanwhile the Python SDK is kept from giving up by interim answers, a client that goes away takes its job with it,
//! and a deadline turns the call into a 504 that names the job, which goes on and can be polled.

use std::sync::Arc;

use api::OutputFormat;
use api::response::{Base64Image, OutputMetadata};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use jobs::{Job, JobStore, State};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use uuid::Uuid;

use super::submit::{Accepted, account_headers};
use crate::failure::Failure;
use crate::interim::Interim;
use crate::state::{App, Phase};
use crate::task::TransferResult;

/// Only this client is known to survive interim answers: `requests` takes a 102 for the final one.
const KEPT_ALIVE: &[u8] = b"segmind-python-sdk/";

pub(super) async fn for_picture(app: &Arc<App>, accepted: Accepted) -> Result<Response, Failure> {
    let id = accepted.job.id;
    // Dropped with this future when the client goes away; nobody else knows the id then.
    let mut abandoned = CancelOnDrop { jobs: Some(app.jobs.clone()), id };
    let outcome = over(app, &accepted).await;
    abandoned.jobs = None;
    match outcome? {
        Some(job) => answer(app, &accepted, &job).await,
        None => Err(Failure::internal()),
    }
}

/// Waits until the job is over.
async fn over(app: &App, accepted: &Accepted) -> Result<Option<Job>, Failure> {
    let id = accepted.job.id;
    let interim = interim(accepted);
    let period = app.config.keep_alive.0;
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = app.jobs.wait_terminal(id);
    let deadline = sleep(app.config.v1_deadline.0);
    tokio::pin!(ended, deadline);
    loop {
        tokio::select! {
            // In this order: a picture that is ready goes before a deadline or a shutdown at the same moment.
            biased;
            job = &mut ended => return job.map_err(|error| Failure::store(&error)),
            () = &mut deadline => return Err(Failure::deadline().about(id)),
            () = app.reached(Phase::Stopping) => return Err(Failure::unavailable().about(id)),
            _ = ticks.tick(), if interim.is_some() => {
                if let Some(interim) = interim {
                    interim.processing();
                }
            }
        }
    }
}

/// The way to send interim answers, for the one client that wants them.
fn interim(accepted: &Accepted) -> Option<&Interim> {
    let agent = accepted.parts.headers.get(header::USER_AGENT)?;
    let fit = agent.as_bytes().starts_with(KEPT_ALIVE) && accepted.parts.version == Version::HTTP_11;
    accepted.parts.extensions.get::<Interim>().filter(|_| fit)
}

async fn answer(app: &App, accepted: &Accepted, job: &Job) -> Result<Response, Failure> {
    if job.state == State::Failed {
        return Err(failed(job.error.as_deref().unwrap_or_default()).about(job.id));
    }
    let result: TransferResult = job
        .result
        .clone()
        .and_then(|result| serde_json::from_value(result).ok())
        .ok_or_else(Failure::internal)?;
    let picture = result.pictures.first().ok_or_else(Failure::internal)?;
    let file = app.blobs.get(&picture.key).await.map_err(|error| Failure::store(&error))?;
    let file = file.ok_or_else(|| Failure::no_request(&job.id.to_string()))?;
    let mut response = if accepted.base64 {
        Json(Base64Image { image: BASE64_STANDARD.encode(&file) }).into_response()
    } else {
        image(result.output_format, file)
    };
    let metadata = OutputMetadata {
        width: picture.width,
        height: picture.height,
        format: result.output_format.extension(),
        seed: result.seed,
        images: if result.pictures.len() > 1 {
            result.pictures.iter().map(|each| super::files::url(&accepted.base, &each.key)).collect()
        } else {
            Vec::new()
        },
        ignored: result.ignored,
        notes: result.notes,
    };
    let headers = response.headers_mut();
    account_headers(app, &accepted.caller, job.id, headers);
    for (name, value) in [
        ("x-generation-time", result.inference_time.to_string()),
        ("x-seed-value", result.seed.to_string()),
        ("x-output-metadata", metadata.header()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}

fn image(format: OutputFormat, file: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.media_type())),
        (header::CONTENT_LENGTH, HeaderValue::from(file.len())),
    ];
    (headers, file).into_response()
}

/// An error that begins with the name of a field is the client's (400); whatever else went wrong is ours.
fn failed(error: &str) -> Failure {
    let field = error.split_once(": ").map(|(field, _)| field);
    match field {
        Some("subject_image" | "material_image" | "output_format" | "Content blocked") => {
            Failure::new(StatusCode::BAD_REQUEST, error)
        }
        _ => Failure::internal(),
    }
}

/// Cancels the job when the call ends before its time.
struct CancelOnDrop {
    jobs: Option<Arc<dyn JobStore>>,
    id: Uuid,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let (Some(jobs), Ok(runtime)) = (self.jobs.take(), tokio::runtime::Handle::try_current()) {
            let id = self.id;
            runtime.spawn(async move {
                tracing::info!(%id, "the client went away");
                if let Err(error) = jobs.cancel(id).await {
                    tracing::warn!(%id, %error, "an abandoned job could not be cancelled");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault() {
        assert_eq!(failed("subject_image: could not be downloaded (HTTP 404)").status, 400);
        assert_eq!(failed("Content blocked: x").status, 400);
        for ours in [crate::failure::INTERNAL, jobs::INTERRUPTED, jobs::CANCELLED, "weird: x", ""] {
            assert_eq!(failed(ours), Failure::internal());
        }
    }
}
