//! `POST /v1/{slug}`: a job, and the waiting for it: hold the connection until it is over, then answer with the picture.
//!
//! Meanwhile the Python SDK is kept from giving up by informational answers (102), a client that goes away takes its job
//! with it, and a deadline turns the call into a 504 that names the job, which goes on and can be polled.

use std::sync::Arc;
use std::time::Duration;

use api::response::OutputMetadata;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};
use jobs::{Blame, CancelOutcome, Job, JobStore};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use uuid::Uuid;

use super::admission::{Accepted, Answered, Manner, accept, account_headers};
use super::extract::Slug;
use super::reading::Dialect;
use super::stream;
use crate::failure::Failure;
use crate::idempotency;
use crate::interim::Interim;
use crate::lifecycle::Phase;
use crate::state::App;
use crate::task::TransferResult;

/// Only this client is known to survive interim answers: `requests` takes a 102 for the final one.
const KEPT_ALIVE: &[u8] = b"segmind-python-sdk/";

/// The handler.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    Slug(slug): Slug,
    request: Request,
) -> Result<Response, Failure> {
    match picture(&app, &slug, request, Dialect::Own).await? {
        Made::Picture(accepted, job) => answer(&app, &accepted, &job).await,
        Made::Tried(answer) => Ok(*answer),
    }
}

/// What a call has led to.
pub(super) enum Made {
    /// A job that is COMPLETED.
    Picture(Box<Accepted>, Arc<Job>),
    /// It was only to be tried.
    Tried(Box<Response>),
}

/// Makes a job of a request and waits until its picture is there.
pub(super) async fn picture(
    app: &Arc<App>,
    slug: &str,
    request: Request,
    dialect: Dialect,
) -> Result<Made, Failure> {
    let id = Uuid::new_v4();
    // From before the job is there: a client may go away at any moment, and nobody else knows the id.
    let call = Call::new(app, id, request.headers());
    let accepted = match accept(app, slug, request, &Manner { id, late: false, dialect }).await {
        Ok(Answered::Accepted(accepted)) => accepted,
        Ok(Answered::Tried(answer)) => {
            call.over();
            return Ok(Made::Tried(answer));
        }
        Err(failure) => {
            call.over();
            return Err(failure);
        }
    };
    let _waiting = app.lifecycle.waiting_call();
    let outcome = over(app, &accepted).await;
    call.over();
    match outcome? {
        Some(job) if job.state == jobs::State::Failed => Err(failed(&job).about(job.id)),
        Some(job) => Ok(Made::Picture(accepted, job)),
        None => Err(Failure::no_request(&accepted.job.id.to_string())),
    }
}

/// Waits until the job is over.
async fn over(app: &App, accepted: &Accepted) -> Result<Option<Arc<Job>>, Failure> {
    let id = accepted.job.id;
    // A server that was told not to keep calls alive does not.
    let interim = interim(accepted).filter(|_| !app.config.keep_alive.0.is_zero());
    let period = app.config.keep_alive.0.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = app.jobs.wait_terminal(id);
    let deadline = sleep(app.config.v1_deadline.0);
    tokio::pin!(ended, deadline);
    loop {
        tokio::select! {
            // In this order: a picture that is ready goes before a deadline or a shutdown at the same moment.
            biased;
            job = &mut ended => return Ok(job?),
            () = &mut deadline => return Err(Failure::deadline().about(id)),
            () = app.lifecycle.reached(Phase::Stopping) => return Err(Failure::unavailable().about(id)),
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
    let result = TransferResult::of(job)?;
    let picture = result.pictures.first().ok_or_else(Failure::internal)?;
    let file = app.blobs.open(&picture.key).await?;
    let (file, length) = file.ok_or_else(|| Failure::no_request(&job.id.to_string()))?;
    let (kind, length, body) = if accepted.base64 {
        let (length, body) = stream::base64(file, length, "{\"image\":\"".to_owned(), "\"}");
        ("application/json", length, body)
    } else {
        (result.output_format.media_type(), length, stream::bytes(file, length))
    };
    let headers: [(HeaderName, HeaderValue); 2] =
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CONTENT_LENGTH, length.into())];
    let mut response = (headers, body).into_response();
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
    account_headers(app, &accepted.caller, job.id, headers).await;
    if accepted.replayed {
        headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
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

/// The answer to a job that failed, by whose doing that was. What went wrong with us stands in the log.
fn failed(job: &Job) -> Failure {
    let status = match job.blame() {
        Some(Blame::Client) => StatusCode::BAD_REQUEST,
        Some(Blame::Overtime) => StatusCode::GATEWAY_TIMEOUT,
        Some(Blame::Server | Blame::Cancelled | Blame::Interrupted) | None => return Failure::internal(),
    };
    Failure::new(status, job.error().unwrap_or_default())
}

/// A call that is waited for. Its job is cancelled when it is dropped before its time, which is when the client goes away.
struct Call {
    jobs: Option<Arc<dyn JobStore>>,
    id: Uuid,
}

impl Call {
    /// With an idempotency key the job is left alone: the client may come again for it.
    fn new(app: &App, id: Uuid, headers: &HeaderMap) -> Self {
        let cancels = !headers.contains_key(idempotency::HEADER);
        Self { jobs: cancels.then(|| app.jobs.clone()), id }
    }

    /// There is an answer.
    fn over(mut self) {
        self.jobs = None;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let (Some(jobs), Ok(runtime)) = (self.jobs.take(), tokio::runtime::Handle::try_current()) {
            let id = self.id;
            runtime.spawn(async move {
                match jobs.cancel(id).await {
                    Ok(CancelOutcome::Unknown) => {
                        tracing::debug!("a client went away before its job was there")
                    }
                    Ok(_) => tracing::info!(%id, "the client went away"),
                    Err(error) => tracing::warn!(%id, %error, "an abandoned job could not be cancelled"),
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use jobs::NewJob;

    use super::*;

    #[test]
    fn the_status_follows_from_the_blame_and_not_from_the_text() {
        let status = |failure: jobs::Failure| {
            let job = Job { failure: Some(failure), ..Job::queued(NewJob::default(), 0) };
            failed(&job).status.as_u16()
        };
        for text in ["subject_image: HTTP 404", "Request timed out", jobs::CANCELLED, ""] {
            assert_eq!(status(jobs::Failure::client(text)), 400);
            assert_eq!(status(jobs::Failure::new(Blame::Overtime, text)), 504);
            for ours in [Blame::Server, Blame::Cancelled, Blame::Interrupted] {
                assert_eq!(status(jobs::Failure::new(ours, text)), 500);
            }
        }
        let ours =
            Job { failure: Some(jobs::Failure::server("a path")), ..Job::queued(NewJob::default(), 0) };
        assert_eq!(failed(&ours), Failure::internal(), "what went wrong with us is for the log");
    }
}
