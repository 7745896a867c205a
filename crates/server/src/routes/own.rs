//! A caller's own jobs: listing them and deleting them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::response::{Listed, Requests};
use axum::Json;
use axum::extract::{FromRequestParts, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use jobs::{Listing, Place};
use uuid::Uuid;

use super::extract::{Base, OwnJob};
use super::v2::{standing, with_id};
use crate::base_url;
use crate::failure::Failure;
use crate::keys::{Admitted, Read};
use crate::state::App;

/// How many jobs are on a page, if nothing else is asked for, and at most.
const USUAL: usize = 20;
const MOST: usize = 100;

/// Which jobs are asked for. On an open server, where everybody is the same owner, they are those of the caller's machine.
pub(super) struct Asked(Listing);

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let caller = Admitted::<Read>::from_request_parts(parts, app).await?;
        let query = Query::<BTreeMap<String, String>>::from_request_parts(parts, app).await;
        let Query(query) = query.map_err(|_| Failure::bad_query("the query cannot be read"))?;
        let given = |name: &str| query.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let limit = given("limit").map_or(Some(USUAL), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MOST).contains(limit));
        let client = app.keys.client(&caller, base_url::client(&app.config, parts));
        Ok(Self(Listing {
            owner: caller.owner.clone(),
            client,
            state: given("status").map(state).transpose()?,
            after: given("cursor").map(place).transpose()?,
            limit: limit.ok_or_else(|| Failure::bad_query(format!("limit: must be between 1 and {MOST}")))?,
        }))
    }
}

fn state(text: &str) -> Result<jobs::State, Failure> {
    use jobs::State::{Completed, Failed, Processing, Queued};
    let named = |state: &jobs::State| state.as_str().eq_ignore_ascii_case(text);
    let unknown = || Failure::bad_query("status: must be one of QUEUED, PROCESSING, COMPLETED, FAILED");
    [Queued, Processing, Completed, Failed].into_iter().find(named).ok_or_else(unknown)
}

/// A place as a text that clients hand back as they got it.
fn cursor(place: Place) -> String {
    format!("{:x}-{}", place.submitted_at, place.id.simple())
}

fn place(cursor: &str) -> Result<Place, Failure> {
    let read = || {
        let (submitted_at, id) = cursor.split_once('-')?;
        let submitted_at = u64::from_str_radix(submitted_at, 16).ok()?;
        Some(Place { submitted_at, id: Uuid::try_parse(id).ok()? })
    };
    // A database counts to here.
    let read = read().filter(|place| i64::try_from(place.submitted_at).is_ok());
    read.ok_or_else(|| Failure::bad_query("cursor: must be the next_cursor of an earlier answer"))
}

/// A page of the caller's jobs, newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Asked(mut listing): Asked,
    Base(base): Base,
) -> Result<Json<Requests>, Failure> {
    let limit = listing.limit;
    // One more tells whether there is another page.
    listing.limit += 1;
    let mut jobs = app.jobs.list(&listing).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next_cursor = jobs.last().filter(|_| more).map(|job| cursor(job.place()));
    let listed = |job: &Arc<jobs::Job>| {
        let submitted = std::time::UNIX_EPOCH + std::time::Duration::from_millis(job.submitted_at);
        Ok(Listed { status: standing(job, &base)?, submitted_at: crate::rate::utc(submitted) })
    };
    Ok(Json(Requests { requests: jobs.iter().map(listed).collect::<Result<_, Failure>>()?, next_cursor }))
}

/// Forgets a job and its files, and stops it if need be.
pub(super) async fn delete(State(app): State<Arc<App>>, OwnJob(job): OwnJob) -> Result<Response, Failure> {
    if app.jobs.delete(job.id).await? {
        tracing::info!(id = %job.id, "a job was deleted by its client");
    }
    Ok(with_id(&job, StatusCode::NO_CONTENT.into_response()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let there = Place { submitted_at: 1_800_000_000_123, id: Uuid::from_u128(7) };
        assert_eq!(place(&cursor(there)).unwrap(), there);
        for bad in ["", "-", "x-y", "1", "ffffffffffffffff-00000000000000000000000000000007"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
