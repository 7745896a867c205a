//! What this server adds to steer jobs: waiting, listing, following, cancelling and deleting them.

use serde_json::{Value, json};

use super::{ADDITIONS, Paths, json_answer, reference, with_errors};

/// The operations. `id` is the parameter of the path.
pub(super) fn add(paths: &mut Paths, id: &Value) {
    paths.add(ADDITIONS, "post", "/v2/requests/{id}/cancel", "cancelTransfer", cancel(id));
    paths.add(ADDITIONS, "delete", "/v2/requests/{id}", "deleteRequest", delete(id));
    paths.add(ADDITIONS, "get", "/v2/requests/{id}/events", "followRequest", events(id));
    paths.add(ADDITIONS, "get", "/v2/requests", "listRequests", list());
    paths.add(ADDITIONS, "post", "/v1/images/edits", "editImage", edit());
}

/// The parameter of polls that wait.
pub(super) fn wait() -> Value {
    json!({
        "name": "wait", "in": "query",
        "description": "An addition of this server: hold the answer for so many seconds, unless the job comes into another \
            state (polls of the status) or is over (polls of the result) before.",
        "schema": { "type": "integer", "minimum": 0, "maximum": 60, "default": 0 },
    })
}

/// The header of submissions that may come twice.
pub(super) fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header",
        "description": "An addition of this server: a name for this request. Sent again under the same name it leads to the \
            first job, for as long as that is kept; another request under it is answered 409.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
    })
}

fn cancel(id: &Value) -> Value {
    let stands = "Where the job stands now: FAILED, or PROCESSING for a moment longer.";
    json!({
        "summary": "Stop a job",
        "description": "A waiting job fails at once, a running one within a second, with the error \
            `Request was cancelled`. What is over stays as it is. Costs nothing, and gives the credit back.",
        "parameters": id,
        "responses": with_errors(json!({ "200": json_answer(stands, "Status") }), &["401", "403", "404"]),
    })
}

fn delete(id: &Value) -> Value {
    json!({
        "summary": "Forget a job and its files",
        "description": "A job that waits or runs is cancelled. From then on it is unknown: 404.",
        "parameters": id,
        "responses": with_errors(json!({ "204": { "description": "It is gone." } }), &["401", "403", "404"]),
    })
}

fn events(id: &Value) -> Value {
    let stream = json!({ "text/event-stream": { "schema": { "type": "string" } } });
    let answers = json!({
        "200": { "description": "Events `status`; the data of each is a `Status`, its id the state.", "content": stream },
        "204": { "description": "The last event was seen already: `Last-Event-ID` names the state the job ended in." },
    });
    json!({
        "summary": "Follow a job",
        "description": "Server-sent events: the present state at once, then every change, and the end of the stream after \
            the last one.",
        "security": [{ "ApiKey": [] }, { "Ticket": [] }],
        "parameters": id,
        "responses": with_errors(answers, &["401", "403", "404", "503"]),
    })
}

fn edit() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let form = json!({ "type": "object", "required": ["image[]"], "properties": {
        "image[]": { "type": "array", "minItems": 2, "maxItems": 2, "items": { "type": "string", "format": "binary" },
            "description": "The subject, then the material." },
        "mask": { "type": "string", "format": "binary",
            "description": "What gets the material: where it is transparent. Of the subject's shape, at any size." },
        "prompt": text("As in a transfer."),
        "size": text("`auto`, or the most the result may be wide and high, such as `1024x1024`."),
        "output_format": { "type": "string", "enum": ["png", "jpeg", "webp"], "default": "png" },
        "output_compression": { "type": "integer", "minimum": 0, "maximum": 100 },
        "response_format": { "type": "string", "enum": ["b64_json", "url"], "default": "b64_json" },
    } });
    let data = json!({ "type": "array", "items": { "type": "object", "properties": {
        "b64_json": { "type": "string", "contentEncoding": "base64" }, "url": { "type": "string", "format": "uri" },
    } } });
    let answer = json!({ "type": "object", "required": ["created", "data"], "properties": {
        "created": { "type": "integer" }, "output_format": { "type": "string" }, "size": { "type": "string" }, "data": data,
    } });
    let error =
        json!({ "type": "object", "required": ["error"], "properties": { "error": { "type": "object" } } });
    json!({
        "summary": "A transfer in the words of OpenAI's API",
        "description": "For programs that are written for `images.edit`. The key comes as `Authorization: Bearer`; errors have that \
            API's shape. Everything else is as in `POST /v1/material-transfer`.",
        "security": [{ "Bearer": [] }, { "ApiKey": [] }],
        "requestBody": { "required": true, "content": { "multipart/form-data": { "schema": form } } },
        "responses": {
            "200": { "description": "The picture.", "content": { "application/json": { "schema": answer } } },
            "default": { "description": "What is wrong.", "content": { "application/json": { "schema": error } } },
        },
    })
}

fn list() -> Value {
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    json!({
        "summary": "One's own jobs, newest first",
        "parameters": [
            parameter("status", "Only jobs in this state.", json!({ "type": "string", "enum": ["QUEUED", "PROCESSING", "COMPLETED", "FAILED"] })),
            parameter("limit", "Jobs on a page.", json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 })),
            parameter("cursor", "The `next_cursor` of the page before.", json!({ "type": "string", "pattern": "^([0-9a-f]{1,15}-[0-9a-f]{32})?$" })),
        ],
        "responses": with_errors(json!({ "200": json_answer("A page.", "Requests") }), &["400", "401", "403"]),
    })
}

/// The answer to a submission.
pub(super) fn accepted() -> Value {
    let schema = json!({ "oneOf": [reference("Submitted"), reference("DryRun")] });
    json!({
        "description": "Accepted; with `dry_run`: what it would have been done with.",
        "content": { "application/json": { "schema": schema } },
    })
}
