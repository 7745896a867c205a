//! Around every answer: a request id, a span and a line in the log, a count; 500 instead of a broken connection if a handler
//! panics, and the methods that a path takes for whoever asks.
//!
//! By hand, because the id of an answer is its job's, the route is all that may be logged of a path, and probes are quiet.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use tracing::Instrument as _;

use crate::base_url::Peer;
use crate::failure::{Failure, REQUEST_ID};
use crate::state::{App, SLUG};

/// The longest id of a client's own that goes into the log.
const LONGEST_CLIENT_ID: usize = 128;

/// The longest path that goes into the log.
const LONGEST_PATH: usize = 80;

/// The outermost layer.
pub(super) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let path = logged_path(route.as_deref(), request.uri().path());
    let client_id = client_id(request.headers());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let span = tracing::info_span!("request", %method, path, client_id, peer = peer.map(display));
    let answering = async {
        let mut response = next.run(request).await;
        if method == Method::OPTIONS {
            *response.status_mut() = StatusCode::NO_CONTENT;
            if let Some(methods) = route.as_deref().and_then(|route| methods(&app, route)) {
                response.headers_mut().insert(header::ALLOW, methods);
            }
        }
        let headers = response.headers_mut();
        if !headers.contains_key(REQUEST_ID)
            && let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
        {
            headers.insert(REQUEST_ID, id);
        }
        let status = response.status().as_u16();
        let milliseconds = started.elapsed().as_millis() as u64;
        let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        match route.as_deref() {
            // Probes come every few seconds and say nothing.
            Some(route) if route.starts_with("/health") || route == "/metrics" => {
                tracing::debug!(status, "answered");
            }
            _ => tracing::info!(status, milliseconds, request_id, "answered"),
        }
        response
    };
    let response = answering.instrument(span).await;
    // Methods of a client's invention must not become labels.
    let known = [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS].contains(&method);
    let label = if known { method.as_str() } else { "other" };
    app.metrics.answered(route.as_deref().unwrap_or("other"), label, response.status().as_u16());
    app.metrics.took(route.as_deref().unwrap_or("other"), started.elapsed());
    response
}

/// What a handler's panic is answered with. What it said goes to the log with the panic itself.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    Failure::internal().into_response()
}

/// The methods of a route, as the OpenAPI document has them.
fn methods(app: &App, route: &str) -> Option<HeaderValue> {
    let operations = app.openapi["paths"].get(route.replace("{slug}", SLUG))?;
    let mut methods = Vec::new();
    if operations.get("get").is_some() {
        methods.extend(["GET", "HEAD"]);
    }
    if operations.get("post").is_some() {
        methods.push("POST");
    }
    if operations.get("delete").is_some() {
        methods.push("DELETE");
    }
    methods.push("OPTIONS");
    HeaderValue::from_str(&methods.join(", ")).ok()
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
