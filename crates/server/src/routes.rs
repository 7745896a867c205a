//! The router: paths to handlers, and around all of them what every answer needs.
//!
//! No answer is ever a redirect, because clients of this API take 3xx for success: doubled and trailing slashes are
//! dropped before routing instead.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, header};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::failure::Failure;
use crate::state::App;

mod account;
mod admission;
mod body;
mod cors;
mod dry_run;
mod extract;
mod files;
mod follow;
mod form;
mod middleware;
mod openai;
mod ops;
mod own;
mod pages;
mod reading;
mod stream;
mod v1;
mod v2;

pub(crate) use v2::message;

/// Files are what they are called, whatever they hold.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Whatever is not a file is of this moment, and of this caller.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The whole service as a router, for a listener or for tests in process.
pub fn app(state: Arc<App>) -> Router {
    let prefix = state.config.path_prefix.clone();
    let api = if state.config.api { api_routes() } else { Router::new() };
    let routes = api
        .route("/health", get(ops::live))
        .route("/health/live", get(ops::live))
        .route("/health/ready", get(ops::ready))
        .route("/metrics", get(ops::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(state.clone(), middleware::around))
                .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF))
                .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, NO_STORE))
                .layer(cors::layer(&state))
                .layer(from_fn_with_state(state.clone(), cors::same_site))
                .layer(CatchPanicLayer::custom(middleware::panicked)),
        )
        .with_state(state);
    // The path has to be put in order before it is routed, so the rewriting stands in front of the router.
    let ordered =
        ServiceBuilder::new().map_request(move |request| in_order(request, &prefix)).service(routes);
    Router::new().fallback_service(ordered)
}

/// What clients call.
fn api_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/{slug}", post(v1::submit))
        .route("/v2/{slug}", post(v2::submit))
        .route("/v2/requests/{id}/status", get(v2::status))
        .route("/v2/requests/{id}", get(v2::result).delete(own::delete))
        .route("/v2/requests/{id}/events", get(follow::events))
        .route("/v2/requests", get(own::list))
        .route("/v2/requests/{id}/cancel", post(v2::cancel))
        .route("/v1/requests/{id}", get(v2::result))
        .route("/v1/images/edits", post(openai::edit))
        .route("/v1/get-user-credits", get(account::credits))
        .route("/upload-asset", post(account::upload))
        .route("/files/{key}", get(files::file))
        .route("/openapi.json", get(ops::openapi))
        .route("/", get(pages::home).fallback(unknown))
        .route("/docs", get(pages::docs))
        .route("/playground/{*file}", get(pages::file))
}

async fn unknown(request: Request) -> Failure {
    let failure = Failure::no_route(request.uri().path());
    body::discard(request);
    failure
}

async fn wrong_method(request: Request) -> Failure {
    body::discard(request);
    Failure::method_not_allowed()
}

/// Takes the prefix off the path, and superfluous slashes (tower-http's `NormalizePath` trims those at the ends only).
fn in_order(mut request: Request, prefix: &str) -> Request {
    let path = request.uri().path();
    let mut ordered = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        ordered.push('/');
        ordered.push_str(segment);
    }
    let inside = match ordered.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        // A container's probes do not know the prefix of a proxy.
        _ if ordered.starts_with("/health") || ordered == "/metrics" => &ordered,
        _ => OUTSIDE,
    };
    let inside = if inside.is_empty() { "/" } else { inside };
    if inside != request.uri().path() {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(format!("{inside}{query}")).ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static(OUTSIDE));
    }
    request
}

/// A path that no route has.
const OUTSIDE: &str = "/-";

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(uri: &str, prefix: &str) -> String {
        let request = Request::builder().uri(uri).body(axum::body::Body::empty()).unwrap();
        in_order(request, prefix).uri().to_string()
    }

    #[test]
    fn slashes_and_prefixes() {
        assert_eq!(ordered("/v1/x", ""), "/v1/x");
        assert_eq!(ordered("//v1//x/?a=b", ""), "/v1/x?a=b");
        assert_eq!(ordered("/", ""), "/");
        assert_eq!(ordered("http://h:1/v1/x/", ""), "http://h:1/v1/x");
        assert_eq!(ordered("/api/v1/x", "/api"), "/v1/x");
        assert_eq!(ordered("/api", "/api"), "/");
        assert_eq!(ordered("/apiv1/x", "/api"), OUTSIDE);
        assert_eq!(ordered("/v1/x", "/api"), OUTSIDE);
        assert_eq!(ordered("/health/live", "/api"), "/health/live");
        assert_eq!(ordered("/a%2f%2e%2e/b", ""), "/a%2f%2e%2e/b", "nothing is decoded");
    }
}
