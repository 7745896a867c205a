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

use super::body;
use crate::base_url::Peer;
use crate::failure::{Failure, REQUEST_ID};
use crate::state::App;

/// What browsers' scripts may see of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-cost, x-remaining-credits, x-generation-time, x-seed-value, x-output-metadata, \
     x-rate-limit-reset-at-utc, retry-after",
);

/// The longest id of a client's own that goes into the log.
const LONGEST_CLIENT_ID: usize = 128;

/// The longest path that goes into the log.
const LONGEST_PATH: usize = 80;

pub(super) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let path = logged_path(route.as_deref(), request.uri().path());
    let route = route.unwrap_or_else(|| "other".to_owned());
    let client_id = client_id(request.headers());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let cors = Cors::new(&app.config.cors_origins, app.keys.is_open(), request.headers());

    let mut response = if method == Method::OPTIONS {
        cors.preflight(request.headers())
    } else if !method.is_safe() && app.keys.is_open() && cors.cross_site {
        // A form of another site needs no permission to be sent, and an open server asks for no key.
        body::discard(request);
        Failure::cross_site().into_response()
    } else {
        AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Failure::internal().into_response())
    };

    let headers = response.headers_mut();
    cors.mark(headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        // Whatever is not a file is of this moment, and of this caller.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
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
        let peer = peer.map(tracing::field::display);
        tracing::info!(%method, path, status, milliseconds, request_id, client_id, peer, "answered");
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

/// What is logged of a path: the route, because the name of a file is the only key to it; what no route knows, shortened.
fn logged_path(route: Option<&str>, path: &str) -> String {
    match route {
        Some(route) => route.to_owned(),
        None => path.chars().take(LONGEST_PATH).collect(),
    }
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
    /// Pages may call into a private network: those that the operator knows by name, and all where a key is asked for.
    private: bool,
    /// The call comes from a page of another site that is not listed.
    cross_site: bool,
}

/// The origins that mean: all where keys are asked for, none on an open server.
const AUTO: &str = "auto";

impl Cors {
    fn new(origins: &[String], open: bool, headers: &HeaderMap) -> Self {
        let origin = headers.get(header::ORIGIN);
        let listed = |origin: &&HeaderValue| origins.iter().any(|each| each.as_bytes() == origin.as_bytes());
        let named = origin.filter(listed).cloned();
        let is_named = named.is_some();
        let private = is_named || !open;
        if origins.iter().any(|origin| origin == "*" || (origin == AUTO && !open)) {
            let allowed = Some(HeaderValue::from_static("*"));
            return Self { allowed, varies: false, private, cross_site: false };
        }
        let own = |origin: &HeaderValue| {
            let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
            let site = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
            site.is_some() && site.map(str::as_bytes) == host
        };
        let cross_site = origin.is_some_and(|origin| !is_named && !own(origin));
        Self { allowed: named, varies: true, private, cross_site }
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
        if self.private && asked.contains_key("access-control-request-private-network") {
            headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
        }
        response
    }
}
