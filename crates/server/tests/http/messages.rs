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

/// A request that is refused: which constructor of `src/failure.rs` says so, what the server has set, and what the sentence
/// names.
struct Refused {
    by: &'static str,
    settings: String,
    request: http::Request<Body>,
    status: u16,
    parts: &'static [&'static str],
}

/// The two headers of a good request.
const HEADERS: [(&str, &str); 2] = [("x-api-key", "secret"), JSON];
const JSON: (&str, &str) = ("content-type", "application/json");
const AT: &str = "/v2/material-transfer";

/// A server with the key `secret`, with more to say about it.
fn studio(more: &str) -> String {
    let sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    format!("max_body = \"1MiB\"\n[[keys]]\nid = \"studio\"\nsha256 = \"{sha256}\"\n{more}")
}

fn good() -> Body {
    Body::from(ok(json!({})).to_string())
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> http::Request<Body> {
    request("POST", path, headers, body.into())
}

/// Requests that are wrong as a whole: path, method, key, body.
fn wrong_requests() -> Vec<Refused> {
    let with = |kind| [HEADERS[0], ("content-type", kind)];
    let packed = [HEADERS[0], JSON, ("content-encoding", "gzip")];
    let bearer = [("authorization", "Bearer secret"), JSON];
    let blank = [HEADERS[0], JSON, ("idempotency-key", "a b")];
    let breaks = Body::from_stream(futures::stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]));
    let get = |path| request("GET", path, &HEADERS, Body::empty());
    let upload = |body: &'static str| post("/upload-asset", &HEADERS, body);
    let form = with("multipart/form-data; boundary=B");
    let cases: Vec<(_, _, _, &'static [&'static str])> = vec![
        ("no_key", post(AT, &[JSON], good()), 401, &["x-api-key"]),
        ("no_bearer", post(AT, &bearer, good()), 401, &["x-api-key", "bearer"]),
        ("bad_key", post(AT, &[JSON, ("x-api-key", "no")], good()), 401, &["API key is invalid"]),
        ("no_route", post("/material-transfer", &HEADERS, good()), 404, &["/v1/material-transfer"]),
        ("not_found", get("/nowhere"), 404, &["/docs"]),
        ("no_model", post("/v1/flux", &HEADERS, good()), 404, &["Model flux", "material-transfer"]),
        ("method_not_allowed", get("/v1/material-transfer"), 405, &["Method", "Allow"]),
        ("content_type", post(AT, &HEADERS[..1], good()), 406, &["content type", "application/json"]),
        (
            "content_type",
            post(AT, &with("text/plain"), good()),
            406,
            &["application/json or multipart/form-data"],
        ),
        ("not_form", post("/v1/images/edits", &HEADERS, "{}"), 406, &["multipart/form-data"]),
        ("not_json", post("/upload-asset", &form, "--B--\r\n"), 406, &["application/json"]),
        ("packed", post(AT, &packed, good()), 415, &["Content-Encoding gzip", "as it is"]),
        ("too_large", post(AT, &HEADERS, vec![b' '; 2 << 20]), 413, &["too large", "1MiB"]),
        ("cut_short", post(AT, &HEADERS, breaks), 400, &["cut short", "send all"]),
        ("body", post(AT, &HEADERS, "{\"a\":"), 400, &["not valid JSON"]),
        ("body", post(AT, &HEADERS, "[]"), 400, &["object"]),
        ("bad_form", post(AT, &with("multipart/form-data"), good()), 400, &["form", "boundary"]),
        ("no_request", get("/v2/requests/1"), 404, &["Request 1 not found"]),
        ("no_file", get("/files/1.png"), 404, &["File", "kept as long"]),
        ("body", upload("{\"data_urls\":7}"), 400, &["data_urls", "must be a list"]),
        ("body", upload("{\"data_urls\":[]}"), 400, &["data_urls"]),
        ("bad_idempotency_key", post(AT, &blank, good()), 400, &["Idempotency-Key: ", "visible ASCII"]),
        ("bad_query", get("/v2/requests?limit=0"), 400, &["limit: ", "between 1 and"]),
        ("bad_query", get("/v2/requests?status=DONE"), 400, &["status: ", "QUEUED"]),
        ("bad_query", get("/v2/requests?cursor=x"), 400, &["cursor: ", "next_cursor"]),
    ];
    let case = |(by, request, status, parts)| Refused { by, settings: studio(""), request, status, parts };
    cases.into_iter().map(case).collect()
}

/// Good requests to a server that does not take them.
fn wrong_circumstances() -> Vec<Refused> {
    let send = || post(AT, &HEADERS, good());
    let poll = request("GET", "/v2/requests/1", &HEADERS, Body::empty());
    let foreign = post(AT, &[("origin", "https://evil.example"), JSON], good());
    let retired = "retired_models = [\"material-transfer\"]".to_owned();
    let cases: Vec<(_, _, _, _, &'static [&'static str])> = vec![
        ("forbidden", studio("disabled = true"), send(), 403, &["disabled", "operator"]),
        ("forbidden", studio("permissions = [\"read\"]"), send(), 403, &["submit", "operator"]),
        ("forbidden", studio("permissions = [\"transfer\"]"), poll, 403, &["read", "operator"]),
        ("forbidden", studio("models = [\"other\"]"), send(), 403, &["material-transfer", "operator"]),
        ("no_credits", studio("credits = 0"), send(), 406, &["credits"]),
        ("retired", retired, send(), 410, &["operator"]),
        ("queue_full", format!("queue_limit = 0\n{}", studio("")), send(), 429, &["waiting", "Retry in"]),
        ("cross_site", String::new(), foreign, 403, &["operator", "cors_origins"]),
    ];
    let case = |(by, settings, request, status, parts)| Refused { by, settings, request, status, parts };
    cases.into_iter().map(case).collect()
}

#[tokio::test]
async fn every_other_refusal_says_what_to_do() {
    for Refused { by, settings, request, status, parts } in
        wrong_requests().into_iter().chain(wrong_circumstances())
    {
        let answer = Bench::idle(&settings).send(request).await;
        let error = match by {
            // In the words of OpenAI's API.
            "not_form" => answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned(),
            _ => answer.error(status),
        };
        assert_eq!(answer.status, status, "{by}");
        said(by, &error, parts);
    }
}

/// What takes a second request, time or a fault of the machine, with the test that has it.
const ELSEWHERE: [(&str, &str, &str); 10] = [
    ("guessing", "wrong_keys_are_answered_429_and_right_ones_are_served", include_str!("wire.rs")),
    ("too_slow", "a_trickle_is_cut_off_and_a_slow_line_is_not", include_str!("../../src/routes/body.rs")),
    ("busy", "a_body_that_finds_no_room_is_to_come_again", include_str!("strangers.rs")),
    ("rate", "rates", include_str!("limits.rs")),
    ("unavailable", "loading_and_failing_to_load", include_str!("life.rs")),
    ("internal", "failing_engines", include_str!("refusals.rs")),
    ("store", "what_a_store_cannot_do", include_str!("../../src/failure.rs")),
    ("disk", "a_disk_that_fails_is_no_fault_of_the_jobs", include_str!("wire.rs")),
    ("range", "what_may_be_kept", include_str!("strangers.rs")),
    ("deadline", "a_deadline_names_the_job_that_goes_on", include_str!("life.rs")),
];

/// A refusal that is added has to be added here too.
#[test]
fn no_refusal_is_left_out() {
    let known = include_str!("../../src/failure.rs").lines().filter_map(|line| {
        let signature = line.trim_start().trim_start_matches("pub(crate) ").strip_prefix("fn ")?;
        let (name, rest) = signature.split_once('(')?;
        let helps =
            rest.starts_with("self") || rest.starts_with("mut self") || ["new", "from"].contains(&name);
        (rest.ends_with("-> Self {") && !helps).then(|| name.to_owned())
    });
    let known: std::collections::BTreeSet<String> = known.collect();
    assert!(known.len() > 25, "{known:?}");
    let cases = wrong_requests().into_iter().chain(wrong_circumstances());
    let mut walked: Vec<&str> = cases.map(|case| case.by).filter(|by| *by != "body").collect();
    for (by, test, source) in ELSEWHERE {
        assert!(source.contains(&format!("fn {test}()")), "there is no test {test}");
        walked.push(by);
    }
    assert_eq!(known, walked.into_iter().map(str::to_owned).collect());
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
