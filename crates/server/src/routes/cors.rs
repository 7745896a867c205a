//! Which pages of other sites may call: the headers that browsers ask for, and a refusal of calls that need no asking.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, AllowPrivateNetwork, CorsLayer};

use super::body;
use crate::failure::Failure;
use crate::state::App;

/// What scripts of other sites may see of an answer.
const EXPOSED: [&str; 9] = [
    "x-request-id",
    "x-cost",
    "x-remaining-credits",
    "x-generation-time",
    "x-seed-value",
    "x-output-metadata",
    "x-rate-limit-reset-at-utc",
    "retry-after",
    "idempotent-replayed",
];

/// How long a browser may remember an answer to its question.
const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(600);

/// The setting that means: all origins where keys are asked for, none on an open server.
const AUTO: &str = "auto";

/// Whether pages of every origin may call.
fn all(app: &App) -> bool {
    app.config.cors_origins.iter().any(|origin| origin == "*" || (origin == AUTO && !app.keys.is_open()))
}

fn is_listed(app: &App, origin: &HeaderValue) -> bool {
    app.config.cors_origins.iter().any(|each| each.as_bytes() == origin.as_bytes())
}

/// The layer that answers preflights and marks answers.
///
/// The requested headers are mirrored: one official client makes `access-control-allow-origin` one of them. Pages may call
/// into a private network if the operator named them, and all where a key is asked for.
pub(super) fn layer(app: &Arc<App>) -> CorsLayer {
    let (origin, private) = (app.clone(), app.clone());
    // Where all may call, answers are the same for all.
    let (allowed, vary) = if all(app) {
        (AllowOrigin::any(), None)
    } else {
        (AllowOrigin::predicate(move |value, _| is_listed(&origin, value)), Some(header::ORIGIN))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(AllowPrivateNetwork::predicate(move |value, _| {
            is_listed(&private, value) || (all(&private) && !private.keys.is_open())
        }))
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(MAX_AGE)
        .vary(vary.into_iter().collect::<Vec<_>>())
}

/// Refuses what another site's page sends to an open server: a form needs no permission to be sent, and no key is asked for.
pub(super) async fn same_site(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !request.method().is_safe()
        && app.keys.is_open()
        && !all(&app)
        && is_cross_site(&app, request.headers())
    {
        body::discard(request);
        return Failure::cross_site().into_response();
    }
    next.run(request).await
}

/// Whether a call comes from a page of another site that the operator has not named.
fn is_cross_site(app: &App, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let site = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    let own = site.is_some() && site.map(str::as_bytes) == host;
    !own && !is_listed(app, origin)
}
