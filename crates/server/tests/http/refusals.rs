//! What is refused, in which order, with which words. v2 refuses like v1 unless it is told to validate late.

use axum::body::Body;
use serde_json::{Value, json};

use crate::fixture::*;

const JSON: (&str, &str) = ("content-type", "application/json");

/// F-21 to F-26, F-53 to F-59.
#[tokio::test]
async fn keys_paths_and_methods() {
    let bench = Bench::start(KEYS);
    let body = || Body::from(ok(json!({})).to_string());
    for path in ["/v1/material-transfer", "/v2/material-transfer", "/v1/no-such-model", "/upload-asset"] {
        let none = bench.send(request("POST", path, &[JSON], body())).await;
        assert_eq!(none.error(401), "Missing Authorization or x-api-key in header");
        let bad = bench.send(request("POST", path, &[JSON, ("x-api-key", "BAD")], body())).await;
        assert!(bad.error(401).starts_with("Unauthorized."), "auth before slug");
        let bearer = bench.send(request("POST", path, &[JSON, ("authorization", "Bearer K")], body())).await;
        assert!(bearer.error(401).contains("send the key in x-api-key"));
    }
    for path in ["/v1/no-such-model", "/v2/no-such-model", "/v1/%ff", "/nowhere", "/", "/workflows/x"] {
        bench.post(path, &ok(json!({}))).await.error(404);
    }
    let zero = "/v2/requests/00000000-0000-0000-0000-000000000000/status";
    let unknown = bench.get(zero).await;
    assert!(unknown.error(404).contains("00000000-0000-0000-0000-000000000000 not found"));
    assert!(unknown.json().get("status").is_none());
    bench.send(request("GET", zero, &[("x-api-key", "BAD")], Body::empty())).await.error(401);
    for path in [
        "/v2/requests/not-a-uuid",
        "/v2/requests/%2e%2e%2fx/status",
        "/v2/requests/%ff",
        "/files/x",
        "/files/%ff",
        "/files/../x",
    ] {
        bench.get(path).await.error(404);
    }
    for (method, path, allowed) in [
        ("GET", "/v1/material-transfer", "POST"),
        ("PUT", "/v2/requests/not-even-an-id", "GET"),
        ("PUT", "/v2/requests/not-even-an-id", "DELETE"),
        ("POST", zero, "GET"),
        ("PUT", "/health", "GET"),
    ] {
        let answer = bench.call(method, path, Body::empty()).await;
        answer.error(405);
        assert!(answer.header("allow").contains(allowed), "{answer:?}");
    }
}

/// F-58.
#[tokio::test]
async fn somebody_elses_job_is_unknown() {
    let bench = Bench::start(KEYS);
    let (submitted, _) = bench.run(json!({})).await;
    for url in ["status_url", "response_url", "poll_url"] {
        let path = submitted[url].as_str().unwrap().strip_prefix("http://bench:8000").unwrap();
        bench.send(request("GET", path, &[("x-api-key", "K2")], Body::empty())).await.error(404);
        assert_eq!(bench.get(path).await.status, 200);
    }
}

/// F-27 to F-31.
#[tokio::test]
async fn bodies_and_content_types() {
    let bench = Bench::start(KEYS);
    for path in ["/v1/material-transfer", "/v2/material-transfer"] {
        for body in ["", "[]", "\"x\"", "null"] {
            assert_eq!(
                bench.call("POST", path, body.into()).await.error(400),
                "Request body must be a JSON object"
            );
        }
        assert!(
            bench
                .call("POST", path, "{\"a\":".into())
                .await
                .error(400)
                .starts_with("Request body is not valid JSON")
        );
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""] {
            let headers = [("x-api-key", "K"), ("content-type", kind)];
            let answer = bench.send(request("POST", path, &headers, ok(json!({})).to_string().into())).await;
            let error = answer.error(406);
            assert!(error.starts_with("Invalid content type") && !error.to_lowercase().contains("credit"));
        }
        let none =
            bench.send(request("POST", path, &[("x-api-key", "K")], ok(json!({})).to_string().into())).await;
        none.error(406);
        for kind in ["multipart/form-data", "multipart/form-data; boundary=x"] {
            let headers = [("x-api-key", "K"), ("content-type", kind)];
            bench.send(request("POST", path, &headers, "--y\r\nnonsense".into())).await.error(400);
        }
    }
}

/// F-32 to F-34, F-36 to F-40, F-52 and the rest of B.6.
#[tokio::test]
async fn bad_parameters_are_named() {
    let bench = Bench::idle(KEYS);
    let mut broken = png(64, 64, 0);
    broken.truncate(broken.len() / 2);
    let bad: [(&str, Vec<Value>); 14] = [
        ("material_image", vec![json!("absent"), json!(null), json!(""), json!(5), json!([])]),
        ("subject_image", vec![json!("absent"), json!(""), json!(null), json!(5), json!([]), json!({})]),
        (
            "subject_image",
            vec![json!("bm8gcGljdHVyZQ=="), json!(data_uri(&broken)), json!("file:///etc/hostname")],
        ),
        ("subject_image", vec![json!(data_uri(&png(1, 1, 0))), json!("ftp://h/x"), json!("javascript:1")]),
        ("guidance_scale", vec![json!(0.99), json!(10.01), json!("abc"), json!(true)]),
        ("output_quality", vec![json!(-1), json!(101), json!(80.5)]),
        ("steps", vec![json!(0), json!(-1), json!(6.5), json!("x"), json!(151), json!(true)]),
        ("material_strength", vec![json!("weak"), json!("STRONG"), json!("")]),
        ("output_format", vec![json!("gif"), json!("jpeg"), json!("PNG")]),
        ("max_width", vec![json!(0), json!(-5), json!(1), json!(1e30)]),
        ("max_height", vec![json!(63)]),
        ("prompt", vec![json!(5), json!([]), json!("x".repeat(10_001))]),
        ("seed", vec![json!(-2), json!(1.5), json!(true)]),
        ("return_intermediate_images", vec![json!("yes"), json!(2)]),
    ];
    for (field, values) in bad {
        for value in values {
            for path in ["/v1/material-transfer", "/v2/material-transfer"] {
                let answer = bench.post(path, &ok(json!({ field: value }))).await;
                let error = answer.error(400);
                assert!(error.starts_with(&format!("{field}: ")), "{field} = {value}: {error}");
                assert_eq!(answer.json()["details"][0]["field"], field);
                assert!(!error.contains("root"), "no file's content");
            }
        }
    }
    let envelope = json!({ "input": ok(json!({})) });
    assert!(bench.post("/v1/material-transfer", &envelope).await.error(400).starts_with("material_image: "));
}

/// F-40, F-51 and rows 41 to 44: what shows only when the job runs.
#[tokio::test]
async fn bad_urls_fail_the_job() {
    let bench = Bench::start(&format!("{KEYS}fetch_timeout = \"2s\""));
    let host = picture_host().await;
    let cases = [
        (format!("{host}/nothing.png"), "subject_image: could not be downloaded (HTTP 404)"),
        (format!("{host}/page.html"), "subject_image: not a readable image: the URL led to a web page"),
        (format!("{host}/bomb.png"), "subject_image: image too large (more than 33554432 bytes)"),
        (
            "http://10.0.0.1/x.png".to_owned(),
            "subject_image: address not allowed: it is private or local; the operator can open it with fetch_allow",
        ),
        (
            "http://169.254.169.254/latest/meta-data".to_owned(),
            "subject_image: address not allowed: it is private or local; the operator can open it with fetch_allow",
        ),
        (
            "http://[::1]:1/x".to_owned(),
            "subject_image: address not allowed: it is private or local; the operator can open it with fetch_allow",
        ),
        (
            "http://no-such-host.invalid/x".to_owned(),
            "subject_image: could not be downloaded (host not found)",
        ),
    ];
    for (url, text) in cases {
        let answer = bench.v1(json!({ "subject_image": url })).await;
        assert_eq!(answer.error(400), text);
        let (submitted, status) = bench.run(json!({ "subject_image": url })).await;
        assert_eq!(status.error(422), text);
        assert_eq!(status.json()["status"], "FAILED");
        assert!(status.json()["metrics"].get("cost").is_none());
        for url in ["response_url", "poll_url"] {
            let result = bench.get(submitted[url].as_str().unwrap()).await;
            assert_eq!(
                (result.error(422), result.json()["status"].as_str()),
                (text.to_owned(), Some("FAILED"))
            );
        }
    }
}

/// Rows 49 and 50: failures of the engine, without a word about the inside.
#[tokio::test]
async fn failing_engines() {
    let bench = Bench::start(KEYS);
    for order in ["fail", "panic"] {
        assert_eq!(bench.v1(json!({ "prompt": order })).await.error(500), "Internal server error");
        let (_, status) = bench.run(json!({ "prompt": order })).await;
        assert_eq!(status.error(422), "Internal server error");
    }
    assert_eq!(
        bench.v1(json!({ "prompt": "refuse" })).await.error(400),
        "material_image: not a readable image"
    );
    bench.v1(json!({})).await.picture();
}

/// B.5: the hosted service's way, by configuration; F-52.
#[tokio::test]
async fn validating_late() {
    let bench = Bench::start(&format!("{KEYS}validate_late = true"));
    for changes in
        [json!({ "material_image": "absent" }), json!({ "steps": 0 }), json!({ "subject_image": "AAAA" })]
    {
        let field = changes.as_object().unwrap().keys().next().unwrap().clone();
        let (_, status) = bench.run(changes.clone()).await;
        assert!(status.error(422).starts_with(&format!("{field}: ")));
        assert!(bench.v1(changes).await.error(400).starts_with(&field), "v1 as ever");
    }
    bench.call("POST", "/v2/material-transfer", "[]".into()).await.error(400);
}

/// F-65, F-66.
#[tokio::test]
async fn cross_origin() {
    let bench = Bench::start(KEYS);
    let wanted = "x-api-key,content-type,access-control-allow-origin";
    let headers = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", wanted),
        ("access-control-request-private-network", "true"),
    ];
    for path in ["/v2/material-transfer", "/v1/anything", "/no/such/path"] {
        let answer = bench.send(request("OPTIONS", path, &headers, Body::empty())).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-headers"), wanted);
        assert!(answer.header("access-control-allow-methods").contains("POST"));
        assert_eq!(answer.header("access-control-allow-private-network"), "true", "a key is asked for");
        assert_eq!(answer.header("access-control-max-age"), "600");
    }
    let origin = ("origin", "https://app.example");
    for (key, status) in [("BAD", 401), ("K", 404)] {
        let answer =
            bench.send(request("GET", "/v2/requests/x", &[origin, ("x-api-key", key)], Body::empty())).await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (status, "*"));
        assert!(answer.header("access-control-expose-headers").contains("x-seed-value"));
    }
    let (submitted, _) = bench.run(json!({ "prompt": "fail" })).await;
    assert_eq!(
        bench.get(submitted["status_url"].as_str().unwrap()).await.header("access-control-allow-origin"),
        "*"
    );

    let few = Bench::idle(&format!("{KEYS}cors_origins = [\"https://app.example\"]"));
    let allowed = few.send(request("GET", "/health", &[origin], Body::empty())).await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(allowed.header("vary"), "origin");
    let preflight = [origin, ("access-control-request-private-network", "true")];
    let answer = few.send(request("OPTIONS", "/v2/material-transfer", &preflight, Body::empty())).await;
    assert_eq!(answer.header("access-control-allow-private-network"), "true", "for those that are named");
    let other =
        few.send(request("GET", "/health", &[("origin", "https://evil.example")], Body::empty())).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
}
