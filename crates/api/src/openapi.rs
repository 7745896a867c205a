//! The OpenAPI 3.1 document.
//!
//! The request body comes from [`Schema::describe`], which reads requests too. The schemas of answers are written here
//! and held to the types of [`response`](crate::response) by a test that compares their fields.

use serde_json::{Map, Value, json};

use crate::Schema;

mod schemas;

/// The document for a server that reads requests with `schema` and serves the model `slug` under `prefix`
/// (empty, or `/path`).
#[must_use]
pub fn openapi(schema: &Schema, slug: &str, prefix: &str, version: &str) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "material-transfer",
            "version": version,
            "description": "Transfers the material of one picture onto the subject of another. \
                v1 answers with the picture; v2 answers at once with a request id and URLs to poll.",
        },
        "servers": [{ "url": if prefix.is_empty() { "/" } else { prefix } }],
        "security": [{ "ApiKey": [] }],
        "paths": paths(slug),
        "components": {
            "securitySchemes": { "ApiKey": {
                "type": "apiKey", "in": "header", "name": "x-api-key",
                "description": "Not needed where the operator has configured no keys.",
            } },
            "schemas": schemas::all(schema),
            "responses": responses(),
        },
    })
}

fn paths(slug: &str) -> Value {
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } }]);
    let key = json!([{ "name": "key", "in": "path", "required": true, "schema": { "type": "string" } }]);
    let poll = |summary: &str, body: Value| json!({ "get": { "summary": summary, "parameters": id.clone(), "responses": with_errors(body, &["401", "404", "422"]) } });
    let status = json!({ "200": json_answer("Where the job stands.", "Status") });
    let result = json!({ "200": {
        "description": "The result; the status as long as there is none.",
        "content": { "application/json": { "schema": { "oneOf": [reference("Completed"), reference("Status")] } } },
    } });
    let mut paths = Map::new();
    paths.insert(format!("/v1/{slug}"), json!({ "post": submit_v1() }));
    paths.insert(format!("/v2/{slug}"), json!({ "post": submit_v2() }));
    paths.insert("/v2/requests/{id}/status".into(), poll("Where a job stands", status));
    paths.insert("/v2/requests/{id}".into(), poll("The result of a job", result.clone()));
    paths.insert("/v1/requests/{id}".into(), poll("The result of a job, for v1 pollers", result));
    let cancelled = json!({ "200": json_answer("Where the job stands now: FAILED, or PROCESSING for a moment longer.", "Status") });
    paths.insert(
        "/v2/requests/{id}/cancel".into(),
        json!({ "post": {
            "summary": "Stop a job",
            "description": "A waiting job fails at once, a running one within a second, with the error \
                `Request was cancelled`. What is over stays as it is. Costs nothing, and gives the credit back.",
            "parameters": id.clone(),
            "responses": with_errors(cancelled, &["401", "403", "404"]),
        } }),
    );
    paths.insert(
        "/files/{key}".into(),
        json!({ "get": open("A picture of a result", json!({ "200": picture() }), &key, &["404"]) }),
    );
    paths.insert(
        "/v1/get-user-credits".into(),
        json!({ "get": {
        "summary": "What the key has left",
        "responses": with_errors(json!({ "200": json_answer("Credits.", "Credits") }), &["401"]),
    } }),
    );
    paths.insert("/upload-asset".into(), json!({ "post": {
        "summary": "Store pictures and get URLs to use as inputs",
        "requestBody": { "required": true, "content": { "application/json": { "schema": reference("Upload") } } },
        "responses": with_errors(json!({ "200": json_answer("Stored.", "Uploaded") }), &["400", "401", "403", "406", "408", "413", "415", "429", "503"]),
    } }));
    for (path, summary, kind) in [
        ("/health", "Is the process up?", "application/json"),
        ("/health/live", "Is the process up?", "application/json"),
        ("/health/ready", "Is the model loaded? 503 while it is not", "application/json"),
        ("/metrics", "Prometheus text", "text/plain"),
        ("/openapi.json", "This document", "application/json"),
        ("/docs", "This document, to read", "text/html"),
    ] {
        let answer = json!({ "200": { "description": summary, "content": { kind: {} } } });
        paths.insert(path.into(), json!({ "get": open(summary, answer, &json!([]), &[]) }));
    }
    Value::Object(paths)
}

/// The errors of both POST routes.
const SUBMIT_ERRORS: [&str; 12] =
    ["400", "401", "403", "404", "406", "408", "413", "415", "429", "500", "502", "503"];

fn submit_v1() -> Value {
    let mut picture = picture();
    picture["headers"] = headers();
    picture["content"]["application/json"] = json!({ "schema": reference("Base64Image") });
    json!({
        "summary": "Transfer a material and wait for the picture",
        "requestBody": request_body(),
        "responses": with_errors(json!({ "200": picture, "504": { "$ref": "#/components/responses/504" } }), &SUBMIT_ERRORS),
    })
}

fn submit_v2() -> Value {
    json!({
        "summary": "Queue a transfer",
        "requestBody": request_body(),
        "responses": with_errors(json!({ "200": json_answer("Accepted.", "Submitted") }), &SUBMIT_ERRORS),
    })
}

fn request_body() -> Value {
    let schema = json!({ "schema": reference("TransferRequest") });
    json!({ "required": true, "content": { "application/json": schema, "multipart/form-data": schema } })
}

fn picture() -> Value {
    let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
    json!({
        "description": "The picture.",
        "content": { "image/webp": bytes, "image/jpeg": bytes, "image/png": bytes },
    })
}

/// What stands in the headers of a v1 answer.
fn headers() -> Value {
    let header =
        |kind: &str, description: &str| json!({ "description": description, "schema": { "type": kind } });
    json!({
        "x-request-id": header("string", "The job; it can be polled under /v2/requests too."),
        "x-generation-time": header("number", "Seconds of computation."),
        "x-seed-value": header("integer", "The seed used."),
        "x-cost": header("integer", "In credits."),
        "x-remaining-credits": header("integer", "What the key has left."),
        "x-output-metadata": header("string", "JSON: width, height, format, seed; images, ignored and notes where there are any."),
    })
}

/// An operation without a key.
fn open(summary: &str, answers: Value, parameters: &Value, errors: &[&str]) -> Value {
    json!({ "summary": summary, "security": [], "parameters": parameters, "responses": with_errors(answers, errors) })
}

fn json_answer(description: &str, schema: &str) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": reference(schema) } } })
}

fn with_errors(mut answers: Value, codes: &[&str]) -> Value {
    for code in codes {
        answers[*code] = json!({ "$ref": format!("#/components/responses/{code}") });
    }
    answers
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The error answers by code.
fn responses() -> Value {
    let mut all = Map::new();
    for (code, description) in [
        ("400", "Invalid parameters or request format."),
        ("401", "Missing or invalid API key."),
        ("403", "The key may not do this."),
        ("404", "Unknown model, path or request id; or expired."),
        ("406", "Unsupported content type, or no credits left."),
        ("408", "The body came too slowly."),
        ("413", "Body too large."),
        ("415", "The body is compressed; see Content-Encoding."),
        ("429", "Rate limit, or queue full; see Retry-After (seconds)."),
        ("500", "Internal server error."),
        ("502", "No worker, or shutting down; see Retry-After (seconds)."),
        ("503", "Busy, or the disk cannot be written; see Retry-After (seconds)."),
        ("504", "The deadline for waiting is over; the job goes on under request_id."),
    ] {
        all.insert(code.into(), json_answer(description, "Error"));
    }
    all.insert("422".into(), json_answer("The job has FAILED.", "Status"));
    Value::Object(all)
}

#[cfg(test)]
mod tests;
