//! What handlers ask of a request. A path that does not fit is no fault of its own: it is an unknown model or job.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use jobs::Job;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::base_url::base_url;
use crate::failure::Failure;
use crate::keys::{Admitted, Read};
use crate::state::App;

/// The longest part of a path that an answer repeats, in characters; no id is longer.
const REPEATED: usize = 64;

/// The one parameter of the path; empty if it cannot be read as text, which names nothing.
async fn parameter(parts: &mut Parts, app: &Arc<App>) -> String {
    Path::<String>::from_request_parts(parts, app).await.map(|Path(text)| text).unwrap_or_default()
}

/// The name of a model in the path.
pub(super) struct Slug(pub(super) String);

impl FromRequestParts<Arc<App>> for Slug {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(parameter(parts, app).await))
    }
}

/// The base of the URLs in the answer, without a slash at the end.
pub(super) struct Base(pub(super) String);

impl FromRequestParts<Arc<App>> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(base_url(&app.config, parts)))
    }
}

/// The caller's own job under the id in the path. The key is checked before the id, because clients probe keys with an id
/// that cannot exist.
pub(super) struct OwnJob(pub(super) Arc<Job>);

impl FromRequestParts<Arc<App>> for OwnJob {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let caller = Admitted::<Read>::from_request_parts(parts, app).await?;
        let text = parameter(parts, app).await;
        let unknown = || Failure::no_request(&text.chars().take(REPEATED).collect::<String>());
        let id = Uuid::try_parse(&text).map_err(|_| unknown())?;
        let job = app.jobs.get(id).await?;
        job.filter(|job| job.owner == caller.owner).map(Self).ok_or_else(unknown)
    }
}

/// The job that the caller may follow: with its ticket, which opens nothing else, or as its owner.
pub(super) struct Followed(pub(super) Arc<Job>);

#[derive(Deserialize)]
struct Shown {
    ticket: String,
}

impl FromRequestParts<Arc<App>> for Followed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        if let Ok(Query(shown)) = Query::<Shown>::from_request_parts(parts, app).await
            && let Ok(id) = Uuid::try_parse(&parameter(parts, app).await)
            && let Some(job) = app.jobs.get(id).await?
            && app
                .keys
                .ticket(&job.owner, id)
                .is_some_and(|own| own.as_bytes().ct_eq(shown.ticket.as_bytes()).into())
        {
            return Ok(Self(job));
        }
        OwnJob::from_request_parts(parts, app).await.map(|OwnJob(job)| Self(job))
    }
}
