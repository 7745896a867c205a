//! JSON Schemas of all bodies: of requests from the parameter table, of answers from their types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::response::{Base64Image, Completed, Credits, DryRun, Requests, Status, Submitted, Uploaded};
use crate::{ErrorBody, Schema};

/// `components.schemas`.
pub(super) fn all(schema: &Schema) -> Value {
    let mut all = answers();
    // What a status is before its job is over.
    let mut pending = all.get("Status").cloned().unwrap_or_default();
    pending["properties"]["status"]["enum"] = json!(["QUEUED", "PROCESSING"]);
    all.insert("Pending".to_owned(), pending);
    all.insert("TransferRequest".to_owned(), schema.describe());
    all.insert("TransferForm".to_owned(), form(schema.describe()));
    all.insert("Upload".to_owned(), upload());
    Value::Object(all)
}

/// The answers, and what they are made of.
fn answers() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    generator.subschema_for::<Submitted>();
    generator.subschema_for::<Status>();
    generator.subschema_for::<Completed>();
    generator.subschema_for::<Requests>();
    generator.subschema_for::<DryRun>();
    generator.subschema_for::<ErrorBody>();
    generator.subschema_for::<Base64Image>();
    generator.subschema_for::<Credits>();
    generator.subschema_for::<Uploaded>();
    generator.take_definitions(true)
}

/// The same request as a form: its pictures are files.
fn form(mut request: Value) -> Value {
    for name in crate::request::PICTURES {
        let picture = &mut request["properties"][*name];
        *picture = json!({ "type": "string", "format": "binary", "description": "The file. A URL as text is taken too." });
    }
    for name in crate::request::LISTS {
        request["properties"][*name]["items"] = json!({ "type": "string", "format": "binary" });
    }
    request
}

/// The body of an upload; it is read by hand ([`crate::read_upload`]).
fn upload() -> Value {
    let data_urls = json!({
        "type": "array", "minItems": 1, "maxItems": crate::MOST_UPLOADS, "items": { "type": "string", "minLength": 1 },
    });
    json!({ "type": "object", "required": ["data_urls"], "properties": { "data_urls": data_urls } })
}
