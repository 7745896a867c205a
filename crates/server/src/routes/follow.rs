//! Waiting for a job instead of asking again and again: polls with `?wait=`, and the stream of events of
//! `/v2/requests/{id}/events`. Both wait without a thread, and there is a limit for how many do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api::response::Status;
use axum::extract::{FromRequestParts, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jobs::Job;

use super::extract::{Base, Followed};
use super::v2::{status_of, with_id};
use crate::budget::Share;
use crate::failure::Failure;
use crate::lifecycle::Phase;
use crate::state::App;

/// The longest wait of a poll, in seconds.
const LONGEST: u64 = 60;
/// How often a stream looks for progress within a state.
const LOOK: Duration = Duration::from_secs(1);
/// How often a stream says that it is still there, so that no proxy takes it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a browser repeats when it comes back: the last event it has seen.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx to hand on each event at once.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// How long a poll is willing to wait.
pub(super) struct Wait(Duration);

impl FromRequestParts<Arc<App>> for Wait {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let query = Query::<BTreeMap<String, String>>::from_request_parts(parts, app).await;
        let Some(text) = query.ok().and_then(|Query(mut query)| query.remove("wait")) else {
            return Ok(Self(Duration::ZERO));
        };
        match text.parse() {
            Ok(seconds) if seconds <= LONGEST => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(Failure::bad_query(format!(
                "wait: must be a whole number of seconds from 0 to {LONGEST}"
            ))),
        }
    }
}

impl Wait {
    /// The job in another state than now, or as it is when the time is over.
    pub(super) async fn for_change(self, app: &App, job: Arc<Job>) -> Result<Arc<Job>, Failure> {
        let change = app.jobs.wait_change(job.id, job.state);
        self.until(app, &job, change).await
    }

    /// The job that is over, or as it is when the time is over.
    pub(super) async fn for_end(self, app: &App, job: Arc<Job>) -> Result<Arc<Job>, Failure> {
        let end = app.jobs.wait_terminal(job.id);
        self.until(app, &job, end).await
    }

    /// Where too many wait already, the answer comes at once: the client asks again, as it would without waiting.
    async fn until(
        self,
        app: &App,
        job: &Arc<Job>,
        moment: impl Future<Output = jobs::Result<Option<Arc<Job>>>>,
    ) -> Result<Arc<Job>, Failure> {
        if self.0.is_zero() || job.state.is_terminal() {
            return Ok(job.clone());
        }
        let Some(_place) = app.waiting.try_share(&job.client, 1) else { return Ok(job.clone()) };
        let job_now = tokio::select! {
            found = moment => found?,
            () = tokio::time::sleep(self.0) => app.jobs.get(job.id).await?,
            () = app.lifecycle.reached(Phase::Stopping) => Some(job.clone()),
        };
        job_now.ok_or_else(|| Failure::no_request(&job.id.to_string()))
    }
}

/// The states of a job as they come, beginning with the present one, each as an event `status` whose data is the status
/// answer. The stream ends with the job.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Followed(job): Followed,
    Base(base): Base,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let seen = headers.get(LAST_EVENT).is_some_and(|id| id.as_bytes() == job.state.as_str().as_bytes());
    if seen && job.state.is_terminal() {
        // A browser comes back after the end of every stream, until it is told that there is no more.
        return Ok(with_id(&job, StatusCode::NO_CONTENT.into_response()));
    }
    let place = app.waiting.try_share(&job.client, 1).ok_or_else(Failure::busy)?;
    let follower = Follower { app, base, job: job.clone(), last: None, _place: place };
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = ([UNBUFFERED], sse).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, super::NO_STORE);
    Ok(with_id(&job, response))
}

/// One who reads the events of a job.
struct Follower {
    app: Arc<App>,
    base: String,
    job: Arc<Job>,
    /// What was said last.
    last: Option<Status>,
    _place: Share,
}

impl Follower {
    /// The next event; `None` after the last one, when the job is deleted, and when the server stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let status = status_of(&self.app, &self.job, &self.base).await.ok()?;
            if self.last.as_ref().is_none_or(|last| moved(last, &status)) {
                let event = Event::default().event("status").id(status.status).json_data(&status).ok()?;
                self.last = Some(status);
                return Some(event);
            }
            if self.job.state.is_terminal() {
                return None;
            }
            tokio::select! {
                found = self.app.jobs.wait_change(self.job.id, self.job.state) => self.job = found.ok()??,
                () = tokio::time::sleep(LOOK) => {}
                () = self.app.lifecycle.reached(Phase::Stopping) => return None,
            }
        }
    }
}

/// Whether there is something to tell. (That time passes is not.)
fn moved(last: &Status, now: &Status) -> bool {
    (last.status, last.queue_position, last.progress) != (now.status, now.queue_position, now.progress)
}
