//! The document against the types and the parameter table.

use std::collections::BTreeSet;

use super::*;
use crate::Limits;
use crate::response::Uploaded;

fn document() -> Value {
    openapi(&Schema::default(), "material-transfer", "", "1.2.3", true)
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn both_posts_take_every_parameter() {
    let document = document();
    for version in ["v1", "v2"] {
        let body =
            &document["paths"][format!("/{version}/material-transfer")]["post"]["requestBody"]["content"];
        assert_eq!(body["application/json"]["schema"]["$ref"], "#/components/schemas/TransferRequest");
        assert_eq!(body["multipart/form-data"]["schema"]["$ref"], "#/components/schemas/TransferForm");
    }
    let request = &document["components"]["schemas"]["TransferRequest"];
    let names = [
        "material_image",
        "subject_image",
        "prompt",
        "negative_prompt",
        "guidance_scale",
        "steps",
        "material_strength",
        "max_width",
        "max_height",
        "output_format",
        "output_quality",
        "return_intermediate_images",
        "seed",
        "base64",
        "subject_mask",
        "masks",
        "materials",
        "blend_image",
        "material_weight",
        "material_blend",
        "material_scale",
        "material_fit",
        "roughness",
        "metallic",
        "transparency",
        "glow",
        "mask_feather",
        "mask_invert",
        "background",
        "provenance",
        "webhook_url",
        "dry_run",
    ];
    assert_eq!(keys(&request["properties"]), names.map(String::from).into());
    assert_eq!(request["required"], json!(["material_image", "subject_image"]));
    let properties = &request["properties"];
    assert_eq!(properties["output_format"]["enum"], json!(["webp", "jpg", "png"]));
    assert_eq!(properties["guidance_scale"]["maximum"], 10.0);
    assert_eq!(properties["steps"]["default"], 6);
    for name in names {
        assert!(properties[name]["description"].as_str().is_some_and(|d| !d.is_empty()), "{name}");
    }
}

/// Every published default is one that the server reads back as good, and every published bound is where it turns.
#[test]
fn the_published_ranges_are_the_ones_enforced() {
    let schema = Schema::new(Limits { max_steps: 20, ..Limits::default() });
    let published = schema.describe();
    let accepts = |name: &str, value: &Value| {
        let body = json!({ "material_image": "http://h/m", "subject_image": "http://h/s", name: value });
        schema.from_json(body.to_string().as_bytes()).is_ok()
    };
    for (name, property) in published["properties"].as_object().unwrap() {
        if let Some(default) = property.get("default") {
            assert!(accepts(name, default), "{name}: default");
        }
        for word in property["enum"].as_array().into_iter().flatten() {
            assert!(accepts(name, word), "{name}: {word}");
        }
        for (bound, outwards) in [("minimum", -1.0), ("maximum", 1.0)] {
            let Some(value) = property.get(bound) else { continue };
            assert!(accepts(name, value), "{name}: {bound}");
            if name != "seed" {
                assert!(
                    !accepts(name, &json!(value.as_f64().unwrap() + outwards)),
                    "{name}: beyond its {bound}"
                );
            }
        }
    }
    assert_eq!(published["properties"]["steps"]["maximum"], 20);
}

/// What is left out of an answer is not required, and what is there is never null.
#[test]
fn answers_follow_from_their_types() {
    let schemas = &document()["components"]["schemas"];
    let required = |name: &str| schemas[name]["required"].clone();
    assert_eq!(required("Status"), json!(["status", "request_id", "metrics"]));
    assert_eq!(required("Error"), json!(["error"]));
    assert_eq!(required("Metrics"), Value::Null);
    assert_eq!(schemas["Metrics"]["properties"]["queue_time"]["type"], "number");
    assert_eq!(schemas["Status"]["properties"]["metrics"]["$ref"], "#/components/schemas/Metrics");
    assert_eq!(schemas["Completed"]["properties"]["status"]["const"], "COMPLETED");
    assert_eq!(schemas["Completed"]["properties"]["output"]["format"], "uri");
    assert_eq!(schemas["Pending"]["properties"]["status"]["enum"], json!(["QUEUED", "PROCESSING"]));
    let full = Uploaded { file_urls: vec![], urls: vec![], message: String::new() };
    assert_eq!(keys(&schemas["Uploaded"]["properties"]), keys(&serde_json::to_value(full).unwrap()));
}

/// Every `$ref` leads somewhere.
#[test]
fn references_resolve() {
    fn walk(value: &Value, document: &Value, seen: &mut usize) {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
            *seen += 1;
        }
        match value {
            Value::Object(object) => object.values().for_each(|each| walk(each, document, seen)),
            Value::Array(array) => array.iter().for_each(|each| walk(each, document, seen)),
            _ => {}
        }
    }
    let document = document();
    let mut seen = 0;
    walk(&document, &document, &mut seen);
    assert!(seen > 40, "{seen}");
    assert_eq!(document["components"]["securitySchemes"]["ApiKey"]["name"], "x-api-key");
    assert_eq!(document["info"]["version"], "1.2.3");
}

/// Generated clients name their functions by it.
#[test]
fn every_operation_has_an_id_of_its_own_and_a_chapter() {
    let document = document();
    let operations: Vec<&Value> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|methods| methods.as_object().unwrap().values())
        .collect();
    let ids: BTreeSet<&str> = operations.iter().map(|each| each["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
    let tags: Vec<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert!(operations.iter().all(|each| tags.contains(&each["tags"][0].as_str().unwrap())));
}

#[test]
fn a_form_has_files_for_pictures() {
    let schemas = &document()["components"]["schemas"];
    let (body, form) = (&schemas["TransferRequest"], &schemas["TransferForm"]);
    assert_eq!(form["properties"]["subject_image"]["format"], "binary");
    assert_eq!(body["properties"]["subject_image"]["format"], Value::Null);
    assert_eq!(keys(&form["properties"]), keys(&body["properties"]));
}

#[test]
fn an_open_server_asks_for_no_key() {
    let open = openapi(&Schema::default(), "material-transfer", "", "1", false);
    assert_eq!((&open["security"], &document()["security"]), (&json!([]), &json!([{ "ApiKey": [] }])));
}
