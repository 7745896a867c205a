//! What works: v1, v2, all forms of input and output.

use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};

use crate::fixture::*;

/// F-01 to F-04.
#[tokio::test]
async fn v1_answers_with_the_picture_in_each_format() {
    let bench = Bench::start(KEYS);
    let formats: [(&str, &str, &[u8]); 3] = [
        ("webp", "image/webp", b"RIFF"),
        ("jpg", "image/jpeg", b"\xff\xd8\xff"),
        ("png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ];
    for (format, media, magic) in formats {
        let answer = bench.v1(json!({ "output_format": format })).await;
        assert_eq!(answer.picture().dimensions(), (128, 77));
        assert_eq!(answer.header("content-type"), media);
        assert!(answer.bytes.starts_with(magic));
        assert_eq!(answer.header("content-length"), answer.bytes.len().to_string());
    }
    let default = bench.v1(json!({ "output_format": "absent" })).await;
    assert_eq!(default.header("content-type"), "image/webp");
    assert_eq!(&default.bytes[8..12], b"WEBP");
    assert_eq!(default.header("x-seed-value"), "7");
    assert_eq!(default.header("x-remaining-credits"), "1000000");
    assert_eq!(default.header("x-cost"), "0");
    assert!(default.header("x-generation-time").parse::<f64>().unwrap() > 0.0);
    let metadata: Value = serde_json::from_str(default.header("x-output-metadata")).unwrap();
    assert_eq!(metadata["width"], 128);
    assert_eq!(metadata["format"], "webp");
    assert_eq!(metadata["ignored"], json!(["negative_prompt"]));
    assert_eq!(metadata["notes"], json!(["größer wäre schöner"]));
    assert!(metadata.get("images").is_none());
    // The job is there for v2 too.
    let id = default.header("x-request-id").to_owned();
    assert_eq!(bench.get(&format!("/v2/requests/{id}")).await.json()["status"], "COMPLETED");
}

/// F-05, F-06, F-19, F-49.
#[tokio::test]
async fn the_seed_decides() {
    let bench = Bench::start(KEYS);
    let seven = bench.v1(json!({})).await.bytes;
    assert_eq!(bench.v1(json!({})).await.bytes, seven);
    for seed in [json!("absent"), json!(null), json!(-1), json!("-1")] {
        let random = bench.v1(json!({ "seed": seed })).await;
        let drawn: u64 = random.header("x-seed-value").parse().unwrap();
        assert!(drawn < 1 << 32);
        assert_eq!(
            bench.v1(json!({ "seed": drawn })).await.bytes,
            random.bytes,
            "the reported seed replays it"
        );
    }
    for (seed, reported) in [
        (json!(0), "0"),
        (json!(17_123_564_234_u64), "17123564234"),
        (json!("10000000000000000"), "10000000000000000"),
    ] {
        let answer = bench.v1(json!({ "seed": seed })).await;
        assert_eq!(answer.header("x-seed-value"), reported);
        assert_ne!(answer.bytes, seven);
        assert_eq!(bench.v1(json!({ "seed": reported })).await.bytes, answer.bytes);
    }
    let (_, status) = bench.run(json!({})).await;
    let result = bench.get(status.json()["response_url"].as_str().unwrap()).await.json();
    assert_eq!(bench.get(result["output"].as_str().unwrap()).await.bytes, seven, "v2 makes the same picture");
}

/// F-07, F-08, F-09.
#[tokio::test]
async fn quality_and_size() {
    let bench = Bench::start(KEYS);
    let jpg = async |quality: u8| {
        bench.v1(json!({ "output_format": "jpg", "output_quality": quality })).await.bytes.len()
    };
    assert!(jpg(5).await < jpg(95).await);
    let wide = bench.v1(json!({ "subject_image": data_uri(&png(400, 200, 1)) })).await;
    assert_eq!(wide.picture().dimensions(), (128, 64));
    let never_enlarged = bench.v1(json!({ "max_width": 100_000, "max_height": 100_000 })).await;
    assert_eq!(never_enlarged.picture().dimensions(), (160, 96));
}

/// F-10, F-11, F-12, F-71 (sizes): every way to hand in a picture makes the same picture.
#[tokio::test]
async fn all_forms_of_input() {
    let bench = Bench::start(KEYS);
    let host = picture_host().await;
    let expected = bench.v1(json!({})).await.bytes;
    let (material, subject) = (png(96, 128, 200), png(160, 96, 40));
    let folded: String = BASE64_STANDARD
        .encode(&subject)
        .as_bytes()
        .chunks(76)
        .map(|l| format!("{}\n", String::from_utf8_lossy(l)))
        .collect();
    let forms = [
        json!({ "material_image": format!("{host}/material.png"), "subject_image": format!("{host}/subject.png") }),
        json!({ "subject_image": format!("{host}/packed.png") }),
        json!({ "material_image": BASE64_STANDARD.encode(&material), "subject_image": folded }),
        json!({ "material_image": BASE64_URL_SAFE_NO_PAD.encode(&material) }),
        json!({ "subject_image": data_uri(&subject).replace("image/png", "image/jpeg") }),
    ];
    for changes in forms {
        assert_eq!(bench.v1(changes).await.bytes, expected);
    }
    let boundary = "XYZ";
    let mut form = Vec::new();
    for (name, value) in
        [("steps", "1"), ("seed", "7"), ("max_width", "128"), ("max_height", "128"), ("output_format", "png")]
    {
        form.extend(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    form.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"material_image\"\r\n\r\n{host}/material.png\r\n").bytes());
    form.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"subject_image\"; filename=\"s.png\"\r\nContent-Type: image/png\r\n\r\n").bytes());
    form.extend(&subject);
    form.extend(format!("\r\n--{boundary}--\r\n").bytes());
    let kind = format!("multipart/form-data; boundary={boundary}");
    for path in ["/v1/material-transfer", "/v2/material-transfer"] {
        let headers = [("x-api-key", "K"), ("content-type", kind.as_str())];
        let answer = bench.send(request("POST", path, &headers, Body::from(form.clone()))).await;
        assert_eq!(answer.status, 200);
        assert!(path.starts_with("/v2") || answer.bytes == expected);
    }
}

/// F-13 to F-18, F-35, and rows of B.6 that are accepted.
#[tokio::test]
async fn untidy_but_good() {
    let bench = Bench::start(KEYS);
    // Files tell their parameters in their metadata; here the picture alone counts.
    let bare = |mut changes: Value| {
        changes["provenance"] = json!(false);
        changes
    };
    let expected = bench.v1(bare(json!({}))).await.bytes;
    let accept = [
        ("x-api-key", "K"),
        ("content-type", "Application/JSON; charset=utf-8"),
        ("accept", "application/json"),
    ];
    let body = ok(bare(json!({}))).to_string();
    let answer = bench.send(request("POST", "/v1/material-transfer", &accept, body.into())).await;
    assert_eq!(answer.bytes, expected, "Accept is no reason to answer otherwise");
    let same = [
        json!({ "steps": "1", "seed": "7", "max_width": "128", "max_height": " 128 ", "guidance_scale": "2" }),
        json!({ "steps": 1.0 }),
        json!({ "foo": 1, "timeout": 5, "interval": 1.5, "samples": "1", "scheduler": null, "base64": false }),
        json!({ "prompt": "", "negative_prompt": null, "guidance_scale": null }),
        json!({ "guidance_scale": 1 }),
        json!({ "guidance_scale": 10 }),
        json!({ "guidance_scale": "2.5" }),
        json!({ "output_quality": 0 }),
        json!({ "output_quality": 100 }),
        json!({ "return_intermediate_images": "False" }),
        json!({ "material_strength": "strong" }),
    ];
    for changes in same {
        assert_eq!(bench.v1(bare(changes.clone())).await.bytes, expected, "{changes}");
    }
    let wrapped = bench.v1(bare(json!({ "base64": true }))).await;
    assert_eq!(wrapped.header("content-type"), "application/json");
    assert_eq!(wrapped.header("x-seed-value"), "7");
    assert_eq!(BASE64_STANDARD.decode(wrapped.json()["image"].as_str().unwrap()).unwrap(), expected);
}

/// F-41 to F-48.
#[tokio::test]
async fn v2_from_submission_to_file() {
    let bench = Bench::start(KEYS);
    let answer = bench.v2(json!({ "base64": true, "prompt": "sleep 100" })).await;
    let submitted = answer.json();
    let id = submitted["request_id"].as_str().unwrap();
    assert_eq!(answer.header("x-request-id"), id);
    assert_eq!(submitted["status"], "QUEUED");
    assert_eq!(submitted["status_url"], format!("http://bench:8000/v2/requests/{id}/status"));
    assert_eq!(submitted["response_url"], format!("http://bench:8000/v2/requests/{id}"));
    assert_eq!(submitted["poll_url"], format!("http://bench:8000/v1/requests/{id}"));
    let mut last = 0;
    loop {
        let status = bench.get(submitted["status_url"].as_str().unwrap()).await;
        let early = bench.get(submitted["response_url"].as_str().unwrap()).await.json();
        assert_eq!((status.status.as_u16(), status.json()["request_id"].as_str()), (200, Some(id)));
        assert!(status.json().get("output").is_none());
        assert_eq!(early.get("output").is_some(), early["status"] == "COMPLETED");
        let rank = ["QUEUED", "PROCESSING", "COMPLETED"]
            .iter()
            .position(|word| status.json()["status"] == **word)
            .unwrap();
        assert!(rank >= last, "never a step back");
        last = rank;
        if rank == 2 {
            assert!(status.json()["metrics"]["inference_time"].as_f64().unwrap() >= 0.1);
            assert_eq!(status.json()["metrics"]["cost"], 0);
            break;
        }
        assert_eq!(status.json()["metrics"], json!({}));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let result = bench.get(submitted["response_url"].as_str().unwrap()).await;
    let body = result.json();
    assert_eq!(result.header("content-type"), "application/json");
    assert_eq!(body["status"], "COMPLETED");
    assert_eq!(body["images"].as_array().unwrap().len(), 1);
    assert_eq!(body["images"][0]["url"], body["output"]);
    assert_eq!(body["seed"], "7");
    assert_eq!(body["prompt"], "sleep 100");
    assert!(
        body["metrics"]["total_time"].as_f64().unwrap()
            >= body["metrics"]["inference_time"].as_f64().unwrap() - 0.01
    );
    assert!(body.get("error").is_none());
    for _ in 0..3 {
        assert_eq!(bench.get(submitted["response_url"].as_str().unwrap()).await.bytes, result.bytes);
    }
    assert_eq!(bench.get(submitted["poll_url"].as_str().unwrap()).await.bytes, result.bytes);
    let output = body["output"].as_str().unwrap();
    assert!(
        output.starts_with("http://bench:8000/files/")
            && output.ends_with(".png")
            && !output.contains("/requests/")
    );
    let path = output.strip_prefix("http://bench:8000").unwrap();
    for method in ["GET", "HEAD"] {
        let file = bench.send(request(method, path, &[], Body::empty())).await;
        assert_eq!(file.status, 200, "no key needed");
        assert_eq!(file.header("content-type"), "image/png");
        assert_eq!(file.header("content-length"), body["images"][0]["file_size"].as_str().unwrap());
        assert!(file.header("cache-control").starts_with("private, max-age="));
        assert_eq!(file.bytes.is_empty(), method == "HEAD");
    }
}

/// F-20, F-50.
#[tokio::test]
async fn intermediate_pictures() {
    let bench = Bench::start(KEYS);
    let answer = bench.v1(json!({ "return_intermediate_images": true })).await;
    answer.picture();
    let metadata: Value = serde_json::from_str(answer.header("x-output-metadata")).unwrap();
    assert_eq!(metadata["images"].as_array().unwrap().len(), 2);
    let first = bench.get(metadata["images"][0].as_str().unwrap()).await;
    assert_eq!(first.bytes, answer.bytes, "the final one first");
    let (_, status) = bench.run(json!({ "return_intermediate_images": true })).await;
    let result = bench.get(status.json()["response_url"].as_str().unwrap()).await.json();
    let names: Vec<_> =
        result["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["output", "mask"]);
    assert_eq!(result["output"], result["images"][0]["url"]);
    for image in result["images"].as_array().unwrap() {
        bench.get(image["url"].as_str().unwrap()).await.picture();
    }
}

/// F-72 and the path prefix.
#[tokio::test]
async fn urls_follow_the_base_that_was_reached() {
    let bench = Bench::start(&format!("{KEYS}path_prefix = \"/api\""));
    let headers = [("x-api-key", "K"), ("content-type", "application/json")];
    let mut asked = request("POST", "/api/v2/material-transfer", &headers, ok(json!({})).to_string().into());
    asked.headers_mut().insert("host", "other.example:1234".parse().unwrap());
    let url = bench.send(asked).await.json()["response_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://other.example:1234/api/v2/requests/"), "{url}");
    assert_eq!(bench.get(url.strip_prefix("http://other.example:1234").unwrap()).await.status, 200);
    bench.post("/v2/material-transfer", &ok(json!({}))).await.error(404);
    assert_eq!(bench.get("/health/live").await.status, 200);
    let public = Bench::start(&format!("{KEYS}public_url = \"https://p.example/x\""));
    let submitted = public.v2(json!({})).await.json();
    assert!(submitted["poll_url"].as_str().unwrap().starts_with("https://p.example/x/v1/requests/"));
}

/// F-67: slashes too many are served.
#[tokio::test]
async fn slashes_too_many() {
    let bench = Bench::start(KEYS);
    for path in ["/v1/material-transfer/", "//v1/material-transfer", "/v1//material-transfer//"] {
        bench.post(path, &ok(json!({}))).await.picture();
    }
}

/// F-74: each waiting call gets its own picture.
#[tokio::test]
async fn two_calls_at_once() {
    let bench = Bench::start(KEYS);
    let (one, two) = tokio::join!(bench.v1(json!({ "seed": 1 })), bench.v1(json!({ "seed": 2 })));
    assert_eq!((one.header("x-seed-value"), two.header("x-seed-value")), ("1", "2"));
    assert_eq!(bench.v1(json!({ "seed": 1 })).await.bytes, one.bytes);
    assert_ne!(one.bytes, two.bytes);
}

async fn open(bench: &Bench, path: &str) -> Answer {
    bench.send(request("GET", path, &[], Body::empty())).await
}

/// F-79.
#[tokio::test]
async fn what_needs_no_key() {
    let bench = Bench::start(KEYS);
    for path in ["/health", "/health/live", "/metrics", "/openapi.json", "/docs"] {
        assert_eq!(open(&bench, path).await.status, 200, "{path}");
    }
    while open(&bench, "/health/ready").await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_document_and_its_page() {
    let bench = Bench::idle(KEYS);
    let document = open(&bench, "/openapi.json").await.json();
    assert!(document["paths"]["/v1/material-transfer"]["post"].is_object());
    assert!(document["paths"]["/v2/material-transfer"]["post"].is_object());
    let page = String::from_utf8(open(&bench, "/docs").await.bytes).unwrap();
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "nothing from the internet");
}

#[tokio::test]
async fn metrics_count_answers_and_jobs() {
    let bench = Bench::start(KEYS);
    bench.v1(json!({})).await.picture();
    let metrics = String::from_utf8(open(&bench, "/metrics").await.bytes).unwrap();
    assert!(
        metrics.contains(
            "material_transfer_http_requests_total{route=\"/v1/{slug}\",method=\"POST\",status=\"200\"} 1"
        ),
        "{metrics}"
    );
    assert!(metrics.contains("material_transfer_jobs{state=\"completed\"} 1"));
}

/// F-80.
#[tokio::test]
async fn credits_are_told() {
    let bench = Bench::idle(KEYS);
    assert!(bench.get("/v1/get-user-credits").await.json()["credits"].is_u64());
}

#[tokio::test]
async fn uploads_are_used_like_pictures_of_the_request() {
    let bench = Bench::start(KEYS);
    let expected = bench.v1(json!({})).await.bytes;
    let uploads = json!({ "data_urls": [data_uri(&png(96, 128, 200)), data_uri(&png(160, 96, 40))] });
    let uploaded = bench.post("/upload-asset", &uploads).await.json();
    assert_eq!(uploaded["file_urls"], uploaded["urls"]);
    let url = |at: usize| uploaded["file_urls"][at].as_str().unwrap();
    assert_eq!(bench.get(url(0)).await.bytes, png(96, 128, 200));
    let used = bench.v1(json!({ "material_image": url(0), "subject_image": url(1) })).await;
    assert_eq!(used.bytes, expected);
}

#[tokio::test]
async fn uploads_that_are_no_pictures_are_refused() {
    let bench = Bench::idle(KEYS);
    bench.post("/upload-asset", &json!({ "data_urls": ["http://h/x"] })).await.error(400);
    bench.post("/upload-asset", &json!({ "data_urls": [data_uri(b"no picture")] })).await.error(400);
    bench.post("/upload-asset", &json!({ "files": [] })).await.error(400);
}
