//! Around every answer: a request id, CORS, a line in the log, a count; and 500 instead of a broken connection if a
//! handler panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use crate::failure::{Failure, REQUEST_ID};
use crate::state::App;

/// What browsers' scripts may see of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-cost, x-remaining-credits, x-generation-time, x-seed-value, x-output-metadata, \
     x-rate-limit-reset-at-utc, retry-after",
);

/// The longest id of a client's own that goes into the log.
const LONGEST_CLIENT_ID: usize = 128;

pub(super) async fn envelope(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "other".to_owned());
    let client_id = client_id(request.headers());
    let cors = Cors::new(&app.config.cors_origins, request.headers());

    let mut response = if method == Method::OPTIONS {
        cors.preflight(request.headers())
    } else {
        AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Failure::internal().into_response())
    };

    let headers = response.headers_mut();
    cors.mark(headers);
    if !headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
    {
        headers.insert(REQUEST_ID, id);
    }
    let (status, request_id) = (response.status().as_u16(), response.headers().get(REQUEST_ID));
    let milliseconds = started.elapsed().as_millis() as u64;
    if route.starts_with("/health") || route == "/metrics" {
        // Probes come every few seconds and say nothing.
        tracing::debug!(%method, path, status, "answered");
    } else {
        let request_id = request_id.and_then(|id| id.to_str().ok());
        tracing::info!(%method, path, status, milliseconds, request_id, client_id, "answered");
    }
    // Methods of a client's invention must not become labels.
    let method = if [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS].contains(&method) {
        method.as_str()
    } else {
        "other"
    };
    app.metrics.answered(&route, method, status);
    response
}

/// A client's own id, if it is fit for a log.
fn client_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (id.len() <= LONGEST_CLIENT_ID && id.bytes().all(safe)).then(|| id.to_owned())
}

/// What one request is told about cross-origin calls.
struct Cors {
    /// `None`: this origin may not.
    allowed: Option<HeaderValue>,
    /// The answer differs by origin.
    varies: bool,
}

impl Cors {
    fn new(origins: &[String], headers: &HeaderMap) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self { allowed: Some(HeaderValue::from_static("*")), varies: false };
        }
        let origin = headers
            .get(header::ORIGIN)
            .filter(|origin| origins.iter().any(|each| each.as_bytes() == origin.as_bytes()));
        Self { allowed: origin.cloned(), varies: true }
    }

    fn mark(&self, headers: &mut HeaderMap) {
        if let Some(origin) = &self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }

    /// The requested headers are echoed: one official client makes `access-control-allow-origin` one of them.
    fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST, HEAD, OPTIONS"));
        if self.allowed.is_none() {
            return response;
        }
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, HEAD, OPTIONS"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        if asked.contains_key("access-control-request-private-network") {
            headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
        }
        response
    }
}
