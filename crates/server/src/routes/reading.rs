//! Reading a request: from the bytes of a body to pictures that can be decoded.

use std::sync::Arc;

use api::{ImageSource, RequestError, TransferRequest};
use pipeline::Picture;

use super::body::{self, Held};
use super::{form, openai};
use crate::budget::{SMALL, Share};
use crate::effort::Seen;
use crate::failure::Failure;
use crate::idempotency;
use crate::state::App;

/// In whose words a request is written.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    /// The hosted model's.
    Own,
    /// Those of OpenAI's image edits.
    OpenAi,
}

/// A request in memory, and the part of the budget that its pictures take.
pub(super) struct Read {
    pub(super) request: TransferRequest,
    pub(super) share: Share,
    /// What is known of its pictures.
    pub(super) seen: Seen,
    /// What is asked for, hashed, if that is wanted.
    pub(super) digest: Option<String>,
    dialect: Dialect,
}

/// Why a body is no transfer: what the schema says about it, which may wait until the job fails, or anything else.
pub(super) enum Refusal {
    Request(RequestError),
    Failure(Failure),
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Reads a body as a transfer, on a thread that may take its time. What belongs to the work goes with it, so that a client
/// that hangs up frees nothing that is still in use.
pub(super) async fn parse(
    app: &Arc<App>,
    kind: body::Kind,
    dialect: Dialect,
    held: Held,
    hashed: bool,
) -> Result<Read, Refusal> {
    let lane = &app.parsing[usize::from(held.bytes.len() > SMALL)];
    let permit = lane.clone().acquire_owned().await.map_err(|_| Failure::unavailable())?;
    let app = app.clone();
    let parse = move || {
        let _permit = permit;
        let Held { bytes, mut share } = held;
        let request = match (kind, dialect) {
            (body::Kind::Json, Dialect::Own) => app.schema.from_json(&bytes)?,
            (body::Kind::Json, Dialect::OpenAi) => return Err(Failure::not_form().into()),
            (body::Kind::Form(boundary), Dialect::OpenAi) => {
                let fields = form::read(bytes.clone(), &boundary, &openai::Edit)?;
                app.schema.from_form(openai::translate(fields)?)?
            }
            (body::Kind::Form(boundary), Dialect::Own) => {
                let fields = form::read(bytes.clone(), &boundary, &app.schema)?;
                app.schema.from_form(fields)?
            }
        };
        drop(bytes);
        share.shrink(request.inline_bytes());
        let digest = hashed.then(|| idempotency::digest(&request));
        Ok(Read { request, share, seen: Seen::default(), digest, dialect })
    };
    blocking(parse).await?
}

/// Decodes inline pictures once, so that a broken one is refused now and not by a failed job.
pub(super) async fn check_pictures(app: &Arc<App>, mut read: Read) -> Result<Read, Refusal> {
    if read.request.inline_bytes() == 0 {
        return Ok(read);
    }
    let decoding = app.decoding.clone();
    let (read, most) = blocking(move || {
        // One after the other, so that the larger one's room is enough.
        let mut most = 0;
        for (field, file) in inline(&read.request) {
            let cost = decoding.cost(file).map_err(|error| RequestError::field(field, error.to_string()))?;
            read.seen.note(field, (cost.width, cost.height));
            most = cost.bytes.max(most);
        }
        Ok::<_, RequestError>((read, most))
    })
    .await??;
    let room = app.decoding.check(most).await;
    let limits = *app.decoding.limits();
    let read = blocking(move || {
        // Of the work and not of the call: a client that hangs up does not end the decoding.
        let _room = room;
        for (field, file) in inline(&read.request) {
            let picture = Picture::decode(file, &limits);
            let picture = picture.map_err(|error| RequestError::field(field, error.to_string()))?;
            if let (Dialect::OpenAi, Some(error)) = (read.dialect, openai::unfit(field, &picture)) {
                return Err(error);
            }
        }
        Ok::<_, RequestError>(read)
    });
    Ok(read.await??)
}

/// The pictures that came with the request.
fn inline(request: &TransferRequest) -> Vec<(&'static str, &[u8])> {
    let pictures = request.pictures.iter();
    pictures
        .filter_map(|(field, image)| match image {
            ImageSource::Inline(file) => Some((field, file.as_slice())),
            ImageSource::Url(_) => None,
        })
        .collect()
}

/// Runs what keeps a thread busy where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::internal())
}
