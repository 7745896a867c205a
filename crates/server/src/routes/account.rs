//! The neighbours of the model that clients touch: the balance of a key, and uploading pictures before using them.

use std::sync::Arc;
use std::time::Instant;

use api::RequestError;
use api::response::{Credits, Uploaded};
use axum::Json;
use axum::extract::{Request, State};
use http::request::Parts;
use jobs::{BlobKey, NewJob};
use pipeline::PictureError;
use uuid::Uuid;

use super::body::{self, Held};
use super::files;
use crate::base_url::{self, base_url};
use crate::budget::{SMALL, Share};
use crate::failure::Failure;
use crate::keys::{Admitted, Read, Transfer};
use crate::lifecycle::Phase;
use crate::state::App;
use crate::task::Upload;
use crate::unclaimed::Unclaimed;

pub(super) async fn credits(
    State(app): State<Arc<App>>,
    caller: Admitted<Read>,
) -> Result<Json<Credits>, Failure> {
    Ok(Json(Credits { credits: app.remaining(&caller.owner).await }))
}

pub(super) async fn upload(State(app): State<Arc<App>>, request: Request) -> Result<Json<Uploaded>, Failure> {
    let (parts, body) = request.into_parts();
    let caller = match admit(&app, &parts).await {
        Ok(caller) => caller,
        Err(failure) => {
            body::discard_body(&parts.headers, body);
            return Err(failure);
        }
    };
    let client = app.keys.client(&caller, base_url::client(&app.config, &parts));
    let held = body::read(&app, &client, &parts, body).await?;
    let base = base_url(&app.config, &parts);
    let Parsed { files, sizes, share: _share } = parse(&app, held).await?;
    let mut stored = Unclaimed::new(&app.blobs);
    for file in files {
        let key = BlobKey::random(api::extension_of(&file));
        stored.keys.push(key.clone());
        app.blobs.put(&key, file.into()).await?;
    }
    let file_urls: Vec<String> = stored.keys.iter().map(|key| files::url(&base, key)).collect();
    // A job that is over from the start: its files live, and end, like those of a result.
    let kept = serde_json::to_value(Upload { sizes }).map_err(|_| Failure::internal())?;
    let job = NewJob { id: Uuid::new_v4(), owner: caller.owner.clone(), client, ..NewJob::default() };
    app.jobs.deposit(job, kept, stored.keys.clone()).await?;
    stored.claimed();
    Ok(Json(Uploaded {
        urls: file_urls.clone(),
        file_urls,
        message: "File uploaded successfully".to_owned(),
    }))
}

/// The same checks in the same order as for a transfer, as far as they concern an upload. An upload needs credits, and
/// costs none.
async fn admit(app: &App, parts: &Parts) -> Result<Admitted<Transfer>, Failure> {
    let caller: Admitted<Transfer> = app.keys.admit(&parts.headers, base_url::client(&app.config, parts))?;
    if app.lifecycle.phase() != Phase::Running {
        return Err(Failure::unavailable());
    }
    if app.remaining(&caller.owner).await == 0 {
        return Err(Failure::no_credits());
    }
    if app.jobs.unwell().is_some() {
        return Err(Failure::disk());
    }
    app.rates.take(&caller.owner, caller.requests_per_minute, Instant::now()).map_err(Failure::rate)?;
    match body::kind(&parts.headers)? {
        body::Kind::Json => Ok(caller),
        body::Kind::Form(_) => Err(Failure::not_json()),
    }
}

/// The files of an upload, the sizes of their pictures, and the part of the budget that they take.
struct Parsed {
    files: Vec<Vec<u8>>,
    sizes: Vec<(u32, u32)>,
    share: Share,
}

/// The files in the body, each a picture as far as its head tells.
async fn parse(app: &App, held: Held) -> Result<Parsed, Failure> {
    let lane = &app.parsing[usize::from(held.bytes.len() > SMALL)];
    let permit = lane.clone().acquire_owned().await.map_err(|_| Failure::unavailable())?;
    let decoding = app.decoding.clone();
    let parse = move || -> Result<Parsed, Failure> {
        let _permit = permit;
        let Held { bytes, mut share } = held;
        let files = api::read_upload(&bytes)?;
        drop(bytes);
        share.shrink(files.iter().map(Vec::len).sum());
        let bad = |error: PictureError| RequestError::field("data_urls", error.to_string());
        let size = |file: &Vec<u8>| decoding.cost(file).map(|cost| (cost.width, cost.height)).map_err(bad);
        let sizes = files.iter().map(size).collect::<Result<_, _>>()?;
        Ok(Parsed { files, sizes, share })
    };
    tokio::task::spawn_blocking(parse).await.map_err(|_| Failure::internal())?
}
