//! Files as bodies, read piece by piece while the client takes them: however large a file and however slow its reader,
//! what is in memory is a piece.

use std::fs::File;
use std::io::{self, SeekFrom};

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Bytes read at a time; a multiple of three, for base64.
const PIECE: usize = 48 << 10;

/// A file of `length` bytes.
pub(super) fn bytes(file: File, length: u64) -> Body {
    Body::from_stream(pieces(file, 0, length))
}

/// `length` bytes of a file from `from` on.
pub(super) fn range(file: File, from: u64, length: u64) -> Body {
    Body::from_stream(pieces(file, from, length))
}

/// A text with a file of `length` bytes in base64 between `head` and `tail`, and its length.
pub(super) fn base64(file: File, length: u64, head: String, tail: &'static str) -> (u64, Body) {
    let whole = length.div_ceil(3) * 4 + (head.len() + tail.len()) as u64;
    let text = |text: Bytes| futures::stream::once(async move { Ok(text) });
    let encoded = pieces(file, 0, length).map_ok(|piece| Bytes::from(BASE64_STANDARD.encode(piece)));
    let (head, tail) = (text(head.into()), text(Bytes::from_static(tail.as_bytes())));
    (whole, Body::from_stream(head.chain(encoded).chain(tail)))
}

/// All but the last are [`PIECE`] bytes long.
fn pieces(file: File, from: u64, length: u64) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let begin = (tokio::fs::File::from_std(file), (from > 0).then_some(from), length);
    futures::stream::try_unfold(begin, |(mut file, from, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        if let Some(from) = from {
            file.seek(SeekFrom::Start(from)).await?;
        }
        let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = BytesMut::zeroed(wanted);
        file.read_exact(&mut piece).await?;
        Ok(Some((piece.freeze(), (file, None, left - wanted as u64))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    async fn all(body: Body) -> Vec<u8> {
        axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn whole_parts_and_base64() {
        for length in [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let contents: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&contents).unwrap();
            let open = || {
                let mut file = file.try_clone().unwrap();
                std::io::Seek::rewind(&mut file).unwrap();
                file
            };
            assert_eq!(all(bytes(open(), length as u64)).await, contents);
            let from = length / 3;
            assert_eq!(all(range(open(), from as u64, (length - from) as u64)).await, contents[from..]);
            let (whole, body) = base64(open(), length as u64, "{\"image\":\"".to_owned(), "\"}");
            let wrapped = all(body).await;
            assert_eq!(wrapped.len() as u64, whole);
            let json: serde_json::Value = serde_json::from_slice(&wrapped).unwrap();
            assert_eq!(BASE64_STANDARD.decode(json["image"].as_str().unwrap()).unwrap(), contents);
        }
    }
}
