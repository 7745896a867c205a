//! Every refusal in one table: it says what is wrong, with which of the inputs, and what to do.

use axum::body::Body;
use serde_json::{Value, json};

use crate::fixture::*;

/// What a request sends, the status it is answered with, and what the sentence must name.
type Case<'a> = (&'a str, Value, u16, &'a [&'a str]);

/// Bad values of one request each.
#[tokio::test]
async fn every_bad_parameter_names_itself_and_what_is_right() {
    let bench = Bench::idle(KEYS);
    let long = "x".repeat(10_001);
    let html = format!("data:text/html;base64,{}", base64_of(b"<!doctype html><title>no picture</title>"));
    let small = data_uri(&png(20, 20, 1));
    let cut = data_uri(&png(160, 96, 40)[..300]);
    let cases: Vec<Case<'_>> = vec![
        (
            "nothing for the subject",
            json!({ "subject_image": "absent" }),
            400,
            &["subject_image: ", "required"],
        ),
        (
            "nothing for the material",
            json!({ "material_image": null }),
            400,
            &["material_image: ", "required"],
        ),
        ("an empty text", json!({ "subject_image": "" }), 400, &["subject_image: ", "required"]),
        ("a number", json!({ "subject_image": 7 }), 400, &["subject_image: ", "URL, data URI or base64"]),
        (
            "a page",
            json!({ "subject_image": html }),
            400,
            &["subject_image: ", "not a readable image", "web page"],
        ),
        (
            "half a file",
            json!({ "material_image": cut }),
            400,
            &["material_image: ", "not a readable image", "cut short"],
        ),
        ("a small picture", json!({ "subject_image": small }), 400, &["subject_image: ", "64"]),
        ("a path", json!({ "subject_image": "./bird.png" }), 400, &["subject_image: "]),
        ("another scheme", json!({ "subject_image": "ftp://h/bird.png" }), 400, &["subject_image: "]),
        ("a long prompt", json!({ "prompt": long }), 400, &["prompt: ", "at most 10000 characters"]),
        ("no text", json!({ "prompt": 3 }), 400, &["prompt: ", "string"]),
        ("too many steps", json!({ "steps": 151 }), 400, &["steps: ", "at most 150"]),
        ("too few steps", json!({ "steps": 0 }), 400, &["steps: ", "at least 1"]),
        ("half a step", json!({ "steps": 1.5 }), 400, &["steps: ", "integer"]),
        (
            "too much guidance",
            json!({ "guidance_scale": 11 }),
            400,
            &["guidance_scale: ", "between 1 and 10"],
        ),
        ("no number", json!({ "guidance_scale": "much" }), 400, &["guidance_scale: ", "number"]),
        (
            "another word",
            json!({ "material_strength": "weak" }),
            400,
            &["material_strength: ", "medium, strong"],
        ),
        ("another format", json!({ "output_format": "gif" }), 400, &["output_format: ", "webp, jpg, png"]),
        ("too good", json!({ "output_quality": 101 }), 400, &["output_quality: ", "between 0 and 100"]),
        ("too narrow", json!({ "max_width": 3 }), 400, &["max_width: ", "at least 64"]),
        ("too low", json!({ "max_height": 3 }), 400, &["max_height: ", "at least 64"]),
        (
            "perhaps",
            json!({ "return_intermediate_images": "perhaps" }),
            400,
            &["return_intermediate_images: ", "boolean"],
        ),
        ("a negative seed", json!({ "seed": -2 }), 400, &["seed: ", "non-negative", "-1"]),
    ];
    for (what, changes, status, parts) in cases {
        for version in ["v1", "v2"] {
            let answer = bench.post(&format!("/{version}/material-transfer"), &ok(changes.clone())).await;
            said(what, &answer.error(status), parts);
            let field = answer.json()["details"][0]["field"].as_str().unwrap_or_default().to_owned();
            assert!(parts[0].starts_with(&field) && !field.is_empty(), "{what}: {field}");
        }
    }
}

/// Requests that are wrong as a whole: path, method, key, body.
#[tokio::test]
async fn every_other_refusal_says_what_to_do() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    const KEY: (&str, &str) = ("x-api-key", "K");
    let bench = Bench::idle(&format!("{KEYS}max_body = \"1MiB\""));
    let body = || Body::from(ok(json!({})).to_string());
    let at = "/v1/material-transfer";
    let large = Body::from(vec![b' '; 2 << 20]);
    let packed = ("content-encoding", "gzip");
    let form = ("content-type", "multipart/form-data");
    let text = ("content-type", "text/plain");
    let cases: Vec<(&str, http::Request<Body>, u16, &[&str])> = vec![
        ("no key", request("POST", at, &[JSON], body()), 401, &["x-api-key"]),
        (
            "a wrong key",
            request("POST", at, &[JSON, ("x-api-key", "no")], body()),
            401,
            &["API key is invalid"],
        ),
        (
            "a base without a version",
            request("POST", "/material-transfer", &[JSON, KEY], body()),
            404,
            &["/v1/material-transfer"],
        ),
        (
            "another model",
            request("POST", "/v1/flux", &[JSON, KEY], body()),
            404,
            &["Model flux", "material-transfer"],
        ),
        ("another method", request("GET", at, &[KEY], Body::empty()), 405, &["Method", "Allow"]),
        ("no content type", request("POST", at, &[KEY], body()), 406, &["content type", "application/json"]),
        (
            "another content type",
            request("POST", at, &[text, KEY], body()),
            406,
            &["application/json or multipart/form-data"],
        ),
        (
            "a packed body",
            request("POST", at, &[JSON, KEY, packed], body()),
            415,
            &["Content-Encoding gzip", "as it is"],
        ),
        ("a large body", request("POST", at, &[JSON, KEY], large), 413, &["too large", "1MiB"]),
        ("no JSON", request("POST", at, &[JSON, KEY], Body::from("{\"a\":")), 400, &["not valid JSON"]),
        ("no object", request("POST", at, &[JSON, KEY], Body::from("[]")), 400, &["object"]),
        ("a form without a boundary", request("POST", at, &[form, KEY], body()), 400, &["form", "boundary"]),
        ("no job", request("GET", "/v2/requests/1", &[KEY], Body::empty()), 404, &["Request 1 not found"]),
        ("no file", request("GET", "/files/1.png", &[], Body::empty()), 404, &["File"]),
        (
            "a number for uploads",
            request("POST", "/upload-asset", &[JSON, KEY], Body::from("{\"data_urls\":7}")),
            400,
            &["data_urls", "must be a list"],
        ),
        (
            "no uploads",
            request("POST", "/upload-asset", &[JSON, KEY], Body::from("{\"data_urls\":[]}")),
            400,
            &["data_urls"],
        ),
    ];
    for (what, request, status, parts) in cases {
        let answer = bench.send(request).await;
        said(what, &answer.error(status), parts);
    }
}

/// One sentence for people: it has the parts, and nothing of Rust.
fn said(what: &str, error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{what}: {error:?} lacks {part:?}");
    }
    for ours in ["usize", "u32", "String", "Err(", "Some(", "panicked", ".rs:"] {
        assert!(!error.contains(ours), "{what}: {error}");
    }
    assert!(error.len() < 400, "{what}: {error}");
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    BASE64_STANDARD.encode(bytes)
}
