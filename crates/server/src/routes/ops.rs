//! For operators and the curious, without a key: health, metrics and the OpenAPI document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
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
