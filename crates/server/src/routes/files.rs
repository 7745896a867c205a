//! Pictures by URL: results and uploads. No key is asked for; the name is the secret. A file never changes, so a name is a
//! tag too, and parts of it can be asked for (RFC 9110, sections 13 and 14).

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use jobs::BlobKey;

use super::stream;
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

pub(super) async fn file(
    State(app): State<Arc<App>>,
    key: Result<Path<String>, PathRejection>,
    asked: HeaderMap,
) -> Result<Response, Failure> {
    let gone = Failure::no_file;
    let Path(key) = key.map_err(|_| gone())?;
    let key = BlobKey::parse(&key).map_err(|_| gone())?;
    let job = app.jobs.by_output(&key).await?.ok_or_else(gone)?;
    let (file, length) = app.blobs.open(&key).await?.ok_or_else(gone)?;

    // By the store's own time: the wall clock may have been set since.
    let until = job.files_expire_at.or(job.expires_at).unwrap_or(0);
    let caching = format!("private, max-age={}", until.saturating_sub(app.jobs.now()) / 1000);
    let tag = HeaderValue::from_str(&format!("\"{key}\"")).map_err(|_| gone())?;
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| gone());
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (header::CACHE_CONTROL, text(&caching)?),
        (header::ETAG, tag.clone()),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    if known(&asked, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, axum::response::AppendHeaders(headers)).into_response());
    }
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static(api::media_type(key.extension()))));
    let part = match part(&asked, &tag, length) {
        Part::All => None,
        Part::Some { from, to } => Some((from, to)),
        Part::None => return Err(Failure::range(length)),
    };
    let (status, length, body) = match part {
        None => (StatusCode::OK, length, stream::bytes(file, length)),
        Some((from, to)) => {
            headers.push((header::CONTENT_RANGE, text(&format!("bytes {from}-{to}/{length}"))?));
            (StatusCode::PARTIAL_CONTENT, to - from + 1, stream::range(file, from, to - from + 1))
        }
    };
    headers.push((header::CONTENT_LENGTH, length.into()));
    Ok((status, axum::response::AppendHeaders(headers), body).into_response())
}

/// Whether the client has the file already.
fn known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let named = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|each| {
        let each = each.trim();
        each == "*" || each.strip_prefix("W/").unwrap_or(each).as_bytes() == tag.as_bytes()
    })
}

/// What of a file is wanted.
#[derive(Debug, PartialEq)]
enum Part {
    All,
    /// Both ends included.
    Some {
        from: u64,
        to: u64,
    },
    /// Nothing that it has.
    None,
}

/// Understands one range; several at once, and anything else, count as no wish.
fn part(asked: &HeaderMap, tag: &HeaderValue, length: u64) -> Part {
    if asked.get(header::IF_RANGE).is_some_and(|condition| condition != tag) {
        return Part::All;
    }
    let range = asked.get(header::RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else { return Part::All };
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u64>().ok().map(Some) };
    match (number(first), number(last)) {
        (Some(Some(from)), Some(to)) if to.is_none_or(|to| to >= from) => match length.checked_sub(1) {
            Some(end) if from <= end => Part::Some { from, to: to.unwrap_or(end).min(end) },
            _ => Part::None,
        },
        (Some(None), Some(Some(0))) => Part::None,
        (Some(None), Some(Some(last))) if length > 0 => {
            Part::Some { from: length.saturating_sub(last), to: length - 1 }
        }
        _ => Part::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let tag = HeaderValue::from_static("\"a\"");
        let of = |range: &str| {
            let asked = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(range).unwrap())]);
            part(&asked, &tag, 100)
        };
        assert_eq!(of("bytes=0-0"), Part::Some { from: 0, to: 0 });
        assert_eq!(of("bytes=10-"), Part::Some { from: 10, to: 99 });
        assert_eq!(of("bytes=90-1000"), Part::Some { from: 90, to: 99 });
        assert_eq!(of("bytes=-7"), Part::Some { from: 93, to: 99 });
        assert_eq!(of("bytes=-700"), Part::Some { from: 0, to: 99 });
        for none in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(of(none), Part::None, "{none}");
        }
        for all in
            ["bytes=5-4", "bytes=a-b", "bytes=-", "bytes=0-1,5-6", "items=0-1", "bytes=18446744073709551616-"]
        {
            assert_eq!(of(all), Part::All, "{all}");
        }
        let asked = |condition: &'static str| {
            HeaderMap::from_iter([
                (header::RANGE, HeaderValue::from_static("bytes=0-0")),
                (header::IF_RANGE, HeaderValue::from_static(condition)),
            ])
        };
        assert_eq!(part(&asked("\"a\""), &tag, 100), Part::Some { from: 0, to: 0 });
        assert_eq!(part(&asked("\"b\""), &tag, 100), Part::All);
    }
}
