//! Request bodies: the content type, the size, JSON and forms; and getting rid of bodies that nobody will read.

use std::time::Duration;

use api::{FormValue, RequestError, Schema, TransferRequest};
use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::failure::Failure;

/// How long the next piece of a body may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of an unwanted body is read, and for how long at most, so that the client gets to see the answer.
const DISCARDED_BYTES: usize = 256 << 20;
const DISCARDED_TIME: Duration = Duration::from_secs(60);

/// The two kinds of bodies that a transfer may come in.
pub(super) enum Kind {
    Json,
    /// With the boundary.
    Form(String),
}

/// Looks at the content type alone; anything but the two kinds is 406.
pub(super) fn kind(headers: &HeaderMap) -> Result<Kind, Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Kind::Json),
        "multipart/form-data" => {
            multer::parse_boundary(value).map(Kind::Form).map_err(|_| bad_form("it has no boundary"))
        }
        other => Err(Failure::content_type(other)),
    }
}

/// Reads the whole body, up to `limit` bytes.
pub(super) async fn read(parts: &Parts, body: Body, limit: usize) -> Result<Bytes, Failure> {
    let declared =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        discard_body(&parts.headers, body);
        return Err(Failure::too_large(limit));
    }
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = next(&mut stream).await? {
        if whole.len() + piece.len() > limit {
            tokio::spawn(swallow(stream));
            return Err(Failure::too_large(limit));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

async fn next(stream: &mut BodyDataStream) -> Result<Option<Bytes>, Failure> {
    let cut_short = || Failure::new(http::StatusCode::BAD_REQUEST, "Request body was cut short");
    match tokio::time::timeout(PATIENCE, stream.next()).await {
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(None) => Ok(None),
        Ok(Some(Err(_))) | Err(_) => Err(cut_short()),
    }
}

/// Reads a body that is complete as a transfer.
pub(super) async fn parse(kind: Kind, body: Bytes, schema: &Schema) -> Result<TransferRequest, Parsing> {
    match kind {
        Kind::Json => schema.from_json(&body).map_err(Parsing::Request),
        Kind::Form(boundary) => {
            let form = form(body, boundary).await.map_err(Parsing::Failure)?;
            schema.from_form(form).map_err(Parsing::Request)
        }
    }
}

/// Why a body is no transfer: what the schema says about it, or a form that is none.
pub(super) enum Parsing {
    Request(RequestError),
    Failure(Failure),
}

async fn form(body: Bytes, boundary: String) -> Result<Vec<(String, FormValue)>, Failure> {
    let stream = futures::stream::once(async { Ok::<_, std::convert::Infallible>(body) });
    let mut multipart = multer::Multipart::new(stream, boundary);
    let mut fields = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(|error| bad_form(&error.to_string()))? {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        let is_file = field.file_name().is_some();
        let bytes = field.bytes().await.map_err(|error| bad_form(&error.to_string()))?;
        let value = match String::from_utf8(bytes.to_vec()) {
            Ok(text) if !is_file => FormValue::Text(text),
            Ok(text) => FormValue::File(text.into_bytes()),
            Err(error) => FormValue::File(error.into_bytes()),
        };
        fields.push((name, value));
    }
    Ok(fields)
}

fn bad_form(reason: &str) -> Failure {
    Failure::new(http::StatusCode::BAD_REQUEST, format!("Request body is not a valid form: {reason}"))
}

/// Discards the body of a request that is answered without it.
pub(super) fn discard(request: Request) {
    let (parts, body) = request.into_parts();
    discard_body(&parts.headers, body);
}

/// Reads an unwanted body to its end beside the answer: a client that is still sending when the connection closes sees
/// a reset instead of the answer. A client that waits for `100 Continue` has sent nothing and gets none.
pub(super) fn discard_body(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(header::EXPECT) {
        tokio::spawn(swallow(body.into_data_stream()));
    }
}

async fn swallow(mut stream: BodyDataStream) {
    let reading = async {
        let mut swallowed = 0;
        while let Some(Ok(piece)) = stream.next().await {
            swallowed += piece.len();
            if swallowed > DISCARDED_BYTES {
                break;
            }
        }
    };
    // A body that takes longer loses its connection, which is as it should be.
    let _ = tokio::time::timeout(DISCARDED_TIME, reading).await;
}
