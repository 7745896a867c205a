//! Request bodies: what kind they are, how they are read (within a budget, and not slower than a line carries), and
//! getting rid of bodies that nobody will read.

use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::budget::{SMALL, Share};
use crate::failure::Failure;
use crate::state::App;

/// How far a body may fall behind [`SLOWEST`], at its beginning and at any moment.
const SLACK: Duration = Duration::from_secs(30);
/// The slowest line that is waited for, in bytes a second: a quarter of an old telephone line's megabit.
const SLOWEST: u32 = 32 << 10;
/// How long a body waits for room in the budget.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of an unwanted body is read, and for how long at most, so that the client gets to see the answer.
const DISCARDED_BYTES: usize = 256 << 20;
const DISCARDED_TIME: Duration = Duration::from_secs(60);

/// The two kinds of bodies that a transfer may come in.
pub(super) enum Kind {
    Json,
    /// With the boundary.
    Form(String),
}

/// Looks at the heads alone; anything but the two kinds is 406, anything packed 415.
pub(super) fn kind(headers: &HeaderMap) -> Result<Kind, Failure> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
    {
        return Err(Failure::packed(coding.to_str().unwrap_or("?")));
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Kind::Json),
        "multipart/form-data" => {
            multer::parse_boundary(value).map(Kind::Form).map_err(|_| Failure::bad_form("it has no boundary"))
        }
        other => Err(Failure::content_type(other)),
    }
}

/// A body in memory, and its part of the budget.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) share: Share,
}

/// Reads the whole body for `client`, up to `max_body`.
pub(super) async fn read(app: &App, client: &str, parts: &Parts, body: Body) -> Result<Held, Failure> {
    let limit = app.config.max_body.0;
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let declared = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let declared = match declared.map(usize::try_from) {
        Some(Ok(length)) if length <= limit => Some(length),
        None => None,
        Some(_) => {
            discard_body(&parts.headers, body);
            return Err(Failure::too_large(limit));
        }
    };
    // What does not say how long it is, is small until it shows otherwise.
    let mut room = declared.unwrap_or(SMALL.min(limit));
    let Some(mut share) = app.bodies.take(client, room, PATIENCE).await else {
        discard_body(&parts.headers, body);
        return Err(Failure::busy());
    };
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::with_capacity(declared.unwrap_or(0));
    let mut pace = Pace::new();
    while let Some(piece) = pace.next(&mut stream).await? {
        let length = whole.len() + piece.len();
        if length > limit {
            tokio::spawn(swallow(stream));
            return Err(Failure::too_large(limit));
        }
        if length > room {
            // All that it may become: growing bit by bit, many bodies could wait for each other for ever.
            let Some(larger) = app.bodies.take(client, limit, PATIENCE).await else {
                tokio::spawn(swallow(stream));
                return Err(Failure::busy());
            };
            (room, share) = (limit, larger);
        }
        whole.extend_from_slice(&piece);
    }
    share.shrink(whole.len());
    Ok(Held { bytes: whole.freeze(), share })
}

/// Lets a body fall behind by [`SLACK`] and no more.
struct Pace {
    left: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { left: SLACK }
    }

    /// The next piece.
    async fn next(&mut self, stream: &mut BodyDataStream) -> Result<Option<Bytes>, Failure> {
        let asked = Instant::now();
        let piece = match tokio::time::timeout(self.left, stream.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Failure::cut_short()),
            Err(_) => return Err(Failure::too_slow()),
        };
        let earned = Duration::from_secs_f64(piece.len() as f64 / f64::from(SLOWEST));
        self.left = (self.left.saturating_sub(asked.elapsed()) + earned).min(SLACK);
        Ok(Some(piece))
    }
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
        let mut pace = Pace::new();
        while let Ok(Some(piece)) = pace.next(&mut stream).await {
            swallowed += piece.len();
            if swallowed > DISCARDED_BYTES {
                break;
            }
        }
    };
    // A body that takes longer loses its connection, which is as it should be.
    let _ = tokio::time::timeout(DISCARDED_TIME, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(every: Duration, size: usize, count: usize) -> BodyDataStream {
        let pieces = futures::stream::unfold(0, move |at| async move {
            if at == count {
                return None;
            }
            tokio::time::sleep(every).await;
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![0; size])), at + 1))
        });
        Body::from_stream(pieces).into_data_stream()
    }

    async fn all(mut pace: Pace, mut stream: BodyDataStream) -> Result<usize, Failure> {
        let mut length = 0;
        while let Some(piece) = pace.next(&mut stream).await? {
            length += piece.len();
        }
        Ok(length)
    }

    /// 24 KiB a second is too slow in the long run, 64 KiB is not; and what was earned before is not saved up.
    #[tokio::test]
    async fn a_trickle_is_cut_off_and_a_slow_line_is_not() {
        let brisk = |left: u64| Pace { left: Duration::from_millis(left) };
        let tenth = Duration::from_millis(100);
        assert!(all(brisk(500), stream(tenth, 6554, 20)).await.is_ok());
        assert_eq!(all(brisk(500), stream(tenth, 1, 20)).await.unwrap_err().status, 408);
        let mut saved = brisk(500);
        saved.next(&mut stream(Duration::ZERO, 64 << 20, 1)).await.unwrap();
        assert!(saved.left <= SLACK);
    }
}
