//! JSON Schemas of all bodies.

use serde_json::{Map, Value, json};

use crate::Schema;

/// `components.schemas`.
pub(super) fn all(schema: &Schema) -> Value {
    json!({
        "TransferRequest": schema.describe(),
        "TransferForm": form(schema.describe()),
        "Submitted": object(&["request_id", "status", "status_url", "response_url", "poll_url"], submitted()),
        "Status": object(&["status", "request_id", "metrics"], status(&["QUEUED", "PROCESSING", "COMPLETED", "FAILED"])),
        "Pending": object(&["status", "request_id", "metrics"], status(&["QUEUED", "PROCESSING"])),
        "Completed": object(&["request_id", "status", "output", "images", "seed", "prompt", "timings", "metrics"], completed()),
        "Image": object(&["url", "content_type", "file_name", "file_size", "name", "width", "height"], image()),
        "Metrics": object(&[], metrics()),
        "Timings": object(&["inference", "stages"], json!({
            "inference": { "type": "number" },
            "stages": { "type": "object", "additionalProperties": { "type": "number" } },
        })),
        "Error": object(&["error"], json!({
            "error": { "type": "string", "examples": ["guidance_scale: must be between 1 and 10"] },
            "request_id": id(),
            "details": { "type": "array", "items": object(&["field", "message"], json!({
                "field": { "type": "string", "examples": ["guidance_scale"] },
                "message": { "type": "string", "examples": ["must be between 1 and 10"] },
            })) },
        })),
        "Base64Image": object(&["image"], json!({ "image": { "type": "string", "contentEncoding": "base64" } })),
        "Credits": object(&["credits"], json!({ "credits": { "type": "integer" } })),
        "Upload": object(&["data_urls"], json!({ "data_urls": {
            "type": "array", "minItems": 1, "maxItems": crate::MOST_UPLOADS, "items": { "type": "string", "minLength": 1 },
        } })),
        "Uploaded": object(&["file_urls", "urls", "message"], json!({
            "file_urls": strings(), "urls": strings(), "message": { "type": "string" },
        })),
    })
}

fn submitted() -> Value {
    json!({
        "request_id": id(),
        "status": { "type": "string", "const": "QUEUED" },
        "status_url": uri(),
        "response_url": uri(),
        "poll_url": uri(),
        "queue_position": { "type": "integer", "minimum": 0 },
    })
}

/// The same request as a form: its pictures are files.
fn form(mut request: Value) -> Value {
    for name in crate::request::PICTURES {
        let picture = &mut request["properties"][*name];
        *picture = json!({ "type": "string", "format": "binary", "description": "The file. A URL as text is taken too." });
    }
    request
}

fn status(words: &[&str]) -> Value {
    json!({
        "status": { "type": "string", "enum": words },
        "request_id": id(),
        "status_url": uri(),
        "response_url": uri(),
        "error": { "type": "string" },
        "queue_position": { "type": "integer", "minimum": 0 },
        "progress": { "type": "number", "minimum": 0, "maximum": 1 },
        "metrics": super::reference("Metrics"),
    })
}

fn completed() -> Value {
    json!({
        "request_id": id(),
        "status": { "type": "string", "const": "COMPLETED" },
        "output": uri(),
        "images": { "type": "array", "minItems": 1, "items": super::reference("Image") },
        "seed": { "type": "string" },
        "prompt": { "type": "string" },
        "timings": super::reference("Timings"),
        "ignored": strings(),
        "notes": strings(),
        "metrics": super::reference("Metrics"),
    })
}

fn image() -> Value {
    json!({
        "url": uri(),
        "content_type": { "type": "string" },
        "file_name": { "type": "string" },
        "file_size": { "type": "string" },
        "name": { "type": "string" },
        "width": { "type": "integer" },
        "height": { "type": "integer" },
    })
}

fn metrics() -> Value {
    let number = |description: &str| json!({ "type": "number", "description": description });
    let integer = |description: &str| json!({ "type": "integer", "description": description });
    json!({
        "inference_time": number("Seconds of computation"),
        "queue_time": number("Seconds from submission to the start"),
        "total_time": number("Seconds from submission to the end"),
        "cost": integer("In credits"),
        "remaining_credits": integer("What the key has left"),
        "retry_count": integer("How often the job had to be begun again"),
    })
}

fn id() -> Value {
    json!({ "type": "string", "examples": ["2c7f59ea-13f1-402c-9353-915a2b5a2124"] })
}

fn uri() -> Value {
    json!({ "type": "string", "format": "uri", "examples": ["http://host:8000/…"] })
}

fn strings() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("properties".into(), properties);
    Value::Object(schema)
}
