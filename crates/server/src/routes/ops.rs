//! For operators and the curious, without a key: health, metrics, the OpenAPI document and a page that shows it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::state::App;

/// The process is up and answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// A model is loaded and work is taken.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.unready() {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "error": reason })))
                .into_response()
        }
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let counts = app.jobs.counts().await?;
    let endings = app.jobs.endings().await?;
    let page = app.metrics.text(&counts, &endings, app.unready().is_none());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response())
}

pub(super) async fn openapi(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.openapi.clone())
}

/// Everything the page needs is in it, but the document, which it fetches from beside itself.
pub(super) async fn docs() -> Response {
    let only_itself = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                       img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, only_itself)], Html(include_str!("docs.html"))).into_response()
}
