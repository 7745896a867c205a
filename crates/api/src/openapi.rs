//! The OpenAPI 3.1 document.
//!
//! The request body comes from [`Schema::describe`], which reads requests too. The schemas of answers
//! are derived from the types of [`response`](crate::response).

use serde_json::{Map, Value, json};

use crate::Schema;

mod schemas;
mod steering;

/// The document for a server that reads requests with `schema` and serves the model `slug` under `prefix`
/// (empty, or `/path`). `keyed`: it asks for a key.
#[must_use]
pub fn openapi(schema: &Schema, slug: &str, prefix: &str, version: &str, keyed: bool) -> Value {
    let security = if keyed { json!([{ "ApiKey": [] }]) } else { json!([]) };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "material-transfer",
            "version": version,
            "description": "Transfers the material of one picture onto the subject of another. \
                v1 answers with the picture; v2 answers at once with a request id and URLs to poll.",
        },
        "servers": [{ "url": if prefix.is_empty() { "/" } else { prefix } }],
        "security": security,
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths(slug),
        "components": {
            "securitySchemes": { "ApiKey": {
                "type": "apiKey", "in": "header", "name": "x-api-key",
                "description": "Not needed where the operator has configured no keys.",
            }, "Bearer": {
                "type": "http", "scheme": "bearer",
                "description": "The same key, for `/v1/images/edits`; elsewhere where the operator has switched it on.",
            }, "Ticket": {
                "type": "apiKey", "in": "query", "name": "ticket",
                "description": "In the `events_url` of a submission; it opens that one stream.",
            } },
            "schemas": schemas::all(schema),
            "responses": responses(),
        },
    })
}

/// The chapters of the reference, in their order.
const TAGS: [(&str, &str); 4] = [
    (V1, "The answer is the picture itself; what else there is to know stands in its headers."),
    (V2, "Submit, poll the status, fetch the result. Files need no key: their names cannot be guessed."),
    (ADDITIONS, "This server's own; clients written for the hosted service never meet it."),
    (OTHERS, "Balance, uploads, and what operators ask."),
];
const V1: &str = "One call: v1";
const V2: &str = "Submit and poll: v2";
const ADDITIONS: &str = "Additions";
const OTHERS: &str = "Other routes";

/// Collects operations, and numbers them in the order of the reference: a JSON object has none of its own.
#[derive(Default)]
struct Paths {
    all: Map<String, Value>,
    count: usize,
}

impl Paths {
    fn add(&mut self, tag: &str, method: &str, path: &str, id: &str, mut operation: Value) {
        operation["operationId"] = json!(id);
        operation["tags"] = json!([tag]);
        operation["x-order"] = json!(self.count);
        self.count += 1;
        let methods = self.all.entry(path).or_insert_with(|| json!({}));
        methods[method] = operation;
    }
}

fn paths(slug: &str) -> Value {
    let mut paths = Paths::default();
    paths.add(V1, "post", &format!("/v1/{slug}"), "transfer", submit_v1());
    jobs(&mut paths, slug);
    account(&mut paths);
    operations(&mut paths);
    Value::Object(paths.all)
}

/// The queue: submitting, polling, cancelling, fetching.
fn jobs(paths: &mut Paths, slug: &str) {
    let id = json!([{
        "name": "id", "in": "path", "required": true, "description": "The request_id.",
        "schema": { "type": "string", "format": "uuid" },
    }]);
    let key = json!([{
        "name": "key", "in": "path", "required": true, "description": "The file_name of a picture.",
        "schema": { "type": "string" },
    }]);
    let poll = |summary: &str, body: Value| {
        json!({
            "summary": summary, "parameters": [id[0], steering::wait()],
            "responses": with_errors(body, &["400", "401", "403", "404", "422"]),
        })
    };
    let status = json!({ "200": json_answer("Where the job stands.", "Status") });
    let result = json!({ "200": {
        "description": "The result; the status as long as there is none.",
        "content": { "application/json": { "schema": { "oneOf": [reference("Completed"), reference("Pending")] } } },
    } });
    paths.add(V2, "post", &format!("/v2/{slug}"), "submitTransfer", submit_v2());
    paths.add(V2, "get", "/v2/requests/{id}/status", "getStatus", poll("Where a job stands", status));
    paths.add(V2, "get", "/v2/requests/{id}", "getResult", poll("The result of a job", result.clone()));
    let for_v1 = poll("The result of a job, for v1 pollers", result);
    paths.add(V2, "get", "/v1/requests/{id}", "getResultV1", for_v1);
    let file = open("A picture of a result", json!({ "200": picture() }), &key, &["404"]);
    paths.add(V2, "get", "/files/{key}", "getFile", file);
    steering::add(paths, &id);
}

/// What goes with a key.
fn account(paths: &mut Paths) {
    let credits = json!({
        "summary": "What the key has left",
        "responses": with_errors(json!({ "200": json_answer("Credits.", "Credits") }), &["401", "403"]),
    });
    paths.add(OTHERS, "get", "/v1/get-user-credits", "getCredits", credits);
    let upload = json!({
        "summary": "Store pictures and get URLs to use as inputs",
        "requestBody": { "required": true, "content": { "application/json": { "schema": reference("Upload") } } },
        "responses": with_errors(json!({ "200": json_answer("Stored.", "Uploaded") }), &["400", "401", "403", "406", "408", "413", "415", "429", "500", "502", "503"]),
    });
    paths.add(OTHERS, "post", "/upload-asset", "uploadAssets", upload);
}

/// What operators and programs about programs ask.
fn operations(paths: &mut Paths) {
    let json = || json!({ "application/json": { "schema": { "type": "object" } } });
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    let page = json!({ "text/html": { "schema": { "type": "string" } }, "application/json": { "schema": { "type": "object" } } });
    for (path, id, summary, content) in [
        ("/health", "getHealth", "Is the process up?", json()),
        ("/health/live", "getLiveness", "Is the process up?", json()),
        ("/health/ready", "getReadiness", "Is the model loaded? 503 while it is not", json()),
        ("/metrics", "getMetrics", "Prometheus text", text),
        ("/openapi.json", "getOpenapi", "This document", json()),
        ("/docs", "getReference", "This document; a page to read for browsers", page),
    ] {
        let mut answer = json!({ "200": { "description": summary, "content": content } });
        if path == "/health/ready" {
            answer["503"] = json!({ "description": "Not ready: `error` says why.", "content": json() });
        }
        paths.add(OTHERS, "get", path, id, open(summary, answer, &json!([]), &[]));
    }
}

/// The errors of both POST routes.
const SUBMIT_ERRORS: [&str; 14] =
    ["400", "401", "403", "404", "406", "408", "409", "410", "413", "415", "429", "500", "502", "503"];

fn submit_v1() -> Value {
    let mut picture = picture();
    picture["headers"] = headers();
    picture["content"]["application/json"] =
        json!({ "schema": { "oneOf": [reference("Base64Image"), reference("DryRun")] } });
    json!({
        "summary": "Transfer a material and wait for the picture",
        "parameters": [steering::idempotency_key()],
        "requestBody": request_body(),
        "responses": with_errors(json!({ "200": picture }), &[SUBMIT_ERRORS.as_slice(), &["504"]].concat()),
    })
}

fn submit_v2() -> Value {
    json!({
        "summary": "Queue a transfer",
        "parameters": [steering::idempotency_key()],
        "requestBody": request_body(),
        "responses": with_errors(json!({ "200": steering::accepted() }), &SUBMIT_ERRORS),
    })
}

fn request_body() -> Value {
    json!({ "required": true, "content": {
        "application/json": {
            "schema": reference("TransferRequest"),
            "example": { "subject_image": "https://example.com/bird.png", "material_image": "https://example.com/ruby.png" },
        },
        "multipart/form-data": { "schema": reference("TransferForm") },
    } })
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
        ("409", "The Idempotency-Key was used for another request."),
        ("410", "The operator has switched the model off."),
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
