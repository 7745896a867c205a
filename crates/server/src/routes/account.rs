//! The neighbours of the model that clients touch: the balance of a key, and uploading pictures before using them.

use std::sync::Arc;
use std::time::Instant;

use api::response::{Credits, Upload, Uploaded};
use api::{ImageSource, RequestError};
use axum::Json;
use axum::extract::{Request, State};
use http::HeaderMap;
use jobs::{BlobKey, NewJob};
use uuid::Uuid;

use super::{body, files};
use crate::base_url::base_url;
use crate::config::Permission;
use crate::failure::Failure;
use crate::keys::Caller;
use crate::state::App;

pub(super) async fn credits(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Credits>, Failure> {
    let caller = app.keys.admit(&headers, Permission::Read)?;
    Ok(Json(Credits { credits: app.ledger.remaining(&caller.owner) }))
}

pub(super) async fn upload(State(app): State<Arc<App>>, request: Request) -> Result<Json<Uploaded>, Failure> {
    let (parts, body) = request.into_parts();
    let caller = match admit(&app, &parts.headers) {
        Ok(caller) => caller,
        Err(failure) => {
            body::discard_body(&parts.headers, body);
            return Err(failure);
        }
    };
    let bytes = body::read(&parts, body, app.config.max_body.0).await?;
    let base = base_url(&app.config, &parts);
    let mut keys = Vec::new();
    for file in pictures(&bytes)? {
        let extension = match api::sniff(&file) {
            Some("image/jpeg") => "jpg",
            Some(kind) => kind.trim_start_matches("image/"),
            None => "bin",
        };
        let key = BlobKey::random(extension);
        app.blobs.put(&key, file.into()).await.map_err(|error| Failure::store(&error))?;
        keys.push(key);
    }
    let file_urls: Vec<String> = keys.iter().map(|key| files::url(&base, key)).collect();
    // A job that is over from the start: its files live, and end, like those of a result.
    let payload = serde_json::json!("upload");
    let job = NewJob {
        id: Uuid::new_v4(),
        owner: caller.owner.clone(),
        payload: payload.clone(),
        inputs: Vec::new(),
    };
    app.jobs.deposit(job, payload, keys).await.map_err(|error| Failure::store(&error))?;
    Ok(Json(Uploaded {
        urls: file_urls.clone(),
        file_urls,
        message: "File uploaded successfully".to_owned(),
    }))
}

/// The same checks in the same order as for a transfer, as far as they concern an upload.
fn admit(app: &App, headers: &HeaderMap) -> Result<Arc<Caller>, Failure> {
    let caller = app.keys.admit(headers, Permission::Transfer)?;
    app.rates.take(&caller.owner, caller.requests_per_minute, Instant::now()).map_err(Failure::rate)?;
    match body::kind(headers)? {
        body::Kind::Json => Ok(caller),
        body::Kind::Form(_) => Err(Failure::not_json()),
    }
}

/// The files in the body, each beginning like a picture.
fn pictures(body: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let bad = |message: &str| Failure::from(RequestError::field("data_urls", message));
    let upload: Upload = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            bad("must be a list of data URIs")
        } else {
            RequestError::NotJson(error.to_string()).into()
        }
    })?;
    let read = |text: &String| match ImageSource::from_text(text) {
        Ok(ImageSource::Inline(file)) => Ok(file),
        Ok(ImageSource::Url(_)) => Err(bad("must be data URIs")),
        Err(error) => Err(bad(&error.to_string())),
    };
    upload.data_urls.iter().map(read).collect()
}
