//! For operators and the curious, without a key: health, metrics and the OpenAPI document.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::fleet;
use crate::state::App;

/// The process is up and answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// A model is loaded and work is taken; where nodes share a home, with how many workers of all nodes there are.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.unready() {
        None => {
            let mut body = facts(&app, json!({ "status": "ready" }));
            if let Some(registry) = &app.registry {
                let workers = registry.workers().await.unwrap_or_default();
                body["workers"] = workers.iter().filter(|worker| worker.state == "ready").count().into();
            }
            Json(body).into_response()
        }
        Some(reason) => {
            let body = facts(&app, json!({ "status": "unavailable", "error": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// What the first lines of the log say, as far as strangers may know: no paths, no keys.
fn facts(app: &App, mut body: Value) -> Value {
    let about = app.about();
    body["version"] = json!(about.to_string());
    // A profile may be a file, whose folder is nobody's business.
    let profile = std::path::Path::new(&app.config.profile).file_stem();
    body["profile"] = json!(profile.map(|name| name.to_string_lossy()));
    body["devices"] = json!(about.devices());
    body["keyed"] = json!(!app.keys.is_open());
    body
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let counts = app.jobs.counts().await?;
    let endings = app.jobs.endings().await?;
    let oldest = app.jobs.oldest_waiting().await?;
    let age = oldest.map_or(0, |at| app.jobs.now().saturating_sub(at));
    let mut page = app.metrics.text(&counts, &endings, age, app.unready().is_none(), app.about());
    if let Some(registry) = &app.registry {
        page += &fleet::metrics(&**registry).await?;
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response())
}

pub(super) async fn openapi(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.openapi.clone())
}
