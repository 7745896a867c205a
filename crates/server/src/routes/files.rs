//! Pictures by URL: results and uploads. No key is asked for; the name is the secret.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use jobs::BlobKey;

use crate::failure::Failure;
use crate::state::App;

/// Where a file is. No part of the path is `requests`: pollers skip such URLs.
pub(super) fn url(base: &str, key: &BlobKey) -> String {
    format!("{base}/files/{key}")
}

/// The key of a URL that [`url`] made with the same base.
pub(super) fn key_of(base: &str, url: &str) -> Option<BlobKey> {
    BlobKey::parse(url.strip_prefix(base)?.strip_prefix("/files/")?).ok()
}

/// A file of a live job, and until when it is there (unix ms).
pub(super) async fn find(app: &App, key: &BlobKey) -> Result<Option<(Bytes, u64)>, Failure> {
    let store = |error: jobs::Error| Failure::store(&error);
    let Some(job) = app.jobs.by_output(key).await.map_err(store)? else { return Ok(None) };
    let file = app.blobs.get(key).await.map_err(store)?;
    Ok(file.map(|file| (file, job.files_expire_at.or(job.expires_at).unwrap_or(0))))
}

pub(super) async fn file(
    State(app): State<Arc<App>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let gone = || Failure::new(http::StatusCode::NOT_FOUND, "File not found");
    let Path(key) = key.map_err(|_| gone())?;
    let key = BlobKey::parse(&key).map_err(|_| gone())?;
    let (file, until) = find(&app, &key).await?.ok_or_else(gone)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let caching = format!("private, max-age={}", until.saturating_sub(now) / 1000);
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(api::media_type(key.extension()))),
        (header::CONTENT_LENGTH, HeaderValue::from(file.len())),
        (header::CACHE_CONTROL, HeaderValue::from_str(&caching).map_err(|_| gone())?),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, file).into_response())
}
