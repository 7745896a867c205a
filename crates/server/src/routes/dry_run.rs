//! Requests with `dry_run`: everything that could be wrong with them is looked for, and nothing is done.

use std::sync::Arc;

use api::response::{CheckedPicture, DryRun};
use api::{ImageSource, RequestError, media_type};
use bytes::Bytes;
use jobs::NewJob;
use pipeline::Picture;

use super::files;
use super::reading::{Read, blocking};
use crate::failure::Failure;
use crate::state::App;
use crate::webhooks;
use crate::worker::within;

/// Checks a request of the client of `job`: its pictures one after the other, so that one at a time is in memory.
pub(super) async fn check(app: &Arc<App>, base: &str, read: Read, job: &NewJob) -> Result<DryRun, Failure> {
    let _place = app.dry_runs.take(&job.client, 1).await;
    let Read { request, share, .. } = read;
    webhooks::wanted(app, base, request.control.webhook_url.as_ref())?;
    let mut parameters = request.parameters;
    let mut pictures = Vec::new();
    for (name, source) in request.pictures {
        let file = load(app, base, name, source).await?;
        let checked = picture(app, name, file).await?;
        if name == "subject_image" {
            let wanted = (parameters.max_width, parameters.max_height);
            let size = (checked.width, checked.height);
            (parameters.max_width, parameters.max_height) =
                within(size, wanted, app.config.max_output_pixels);
        }
        pictures.push(checked);
    }
    drop(share);
    Ok(DryRun {
        dry_run: true,
        parameters: serde_json::to_value(&parameters).map_err(|_| Failure::internal())?,
        pictures,
        cost: app.cost(&job.owner),
        notes: request.control.notes,
    })
}

/// A picture's file, from wherever it is.
async fn load(app: &App, base: &str, name: &'static str, source: ImageSource) -> Result<Bytes, Failure> {
    let url = match source {
        ImageSource::Inline(file) => return Ok(file.into()),
        ImageSource::Url(url) => url,
    };
    if let Some(own) = files::key_of(base, url.as_str())
        && app.jobs.by_output(&own).await?.is_some()
        && let Some(file) = app.blobs.get(&own).await?
    {
        return Ok(file);
    }
    Ok(app.fetcher.fetch(&url).await.map_err(|error| RequestError::field(name, error.to_string()))?)
}

/// Decodes a picture within the budget of all that is being decoded.
async fn picture(app: &App, name: &'static str, file: Bytes) -> Result<CheckedPicture, Failure> {
    let bad = move |error: pipeline::PictureError| RequestError::field(name, error.to_string());
    let cost = app.decoding.cost(&file).map_err(bad)?.bytes;
    let room = app.decoding.check(cost).await;
    let limits = *app.decoding.limits();
    let decode = move || {
        let _room = room;
        let (width, height) = Picture::decode(&file, &limits).map_err(bad)?.rgb.dimensions();
        let content_type = media_type(api::extension_of(&file));
        Ok::<_, RequestError>(CheckedPicture { name, content_type, file_size: file.len(), width, height })
    };
    Ok(blocking(decode).await??)
}
