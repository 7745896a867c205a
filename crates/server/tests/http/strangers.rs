//! What strangers send: bodies that cost more than they weigh, requests that ask for too much, pages of other sites, hosts
//! that never answer. Each is answered, and nobody else is the worse for it.

use std::time::{Duration, Instant};

use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use crate::fixture::*;

/// Longer than any of this takes on a busy machine, and much shorter than what it once took.
const SOON: Duration = Duration::from_secs(20);

fn form(parts: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parts {
        let file = if value.len() > 100 { "; filename=\"f\"" } else { "" };
        body.extend(format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend(value);
        body.extend(b"\r\n");
    }
    body.extend(b"--B--\r\n");
    body
}

async fn send_form(bench: &Bench, body: Vec<u8>) -> Answer {
    let headers = [("x-api-key", "K"), ("content-type", "multipart/form-data; boundary=B")];
    bench.send(request("POST", "/v1/material-transfer", &headers, body.into())).await
}

/// Parts by the hundred thousand, and heads by the megabyte.
#[tokio::test]
async fn forms_of_many_parts() {
    let bench = Bench::start(KEYS);
    let began = Instant::now();
    for count in [65, 60_000, 400_000] {
        let body = form((0..count).map(|n| (format!("f{n}"), Vec::new())));
        assert!(send_form(&bench, body).await.error(400).contains("more than 64 parts"));
    }
    let long = format!(
        "--B\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n\r\n--B--\r\n",
        "x".repeat(30 << 20)
    );
    assert!(send_form(&bench, long.into()).await.error(400).contains("head"));
    let unknown = (0..60).map(|n| (format!("f{n}"), vec![b'x'; 200_000]));
    let pictures = [("material_image", png(96, 128, 200)), ("subject_image", png(160, 96, 40))];
    let empty = ["steps", "seed", "max_width"].map(|name| (name.to_owned(), Vec::new()));
    let known = pictures.into_iter().map(|(name, file)| (name.to_owned(), file));
    let few = unknown.take(59).chain(known).chain(empty);
    send_form(&bench, form(few)).await.picture();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

/// JSON that takes a hundred times its bytes where values are built of it, and deeper than any stack.
#[tokio::test]
async fn json_of_many_values() {
    let bench = Bench::start(KEYS);
    let good = ok(json!({})).to_string();
    let began = Instant::now();
    let wide = format!("[{}0]", "{\"\":0},".repeat(4_000_000));
    let deep = format!("{}{}", "[".repeat(10_000_000), "]".repeat(10_000_000));
    for stuffing in [&wide, &deep] {
        let body = good.replacen('{', &format!("{{\"x\":{stuffing},"), 1);
        bench.call("POST", "/v1/material-transfer", body.into()).await.picture();
        let body = format!("{{\"steps\":{stuffing}}}");
        bench.call("POST", "/v2/material-transfer", body.into()).await.error(400);
        let body = format!("{{\"data_urls\":{stuffing}}}");
        bench.call("POST", "/upload-asset", body.into()).await.error(400);
        assert_eq!(
            bench.call("POST", "/v1/material-transfer", stuffing.clone().into()).await.error(400),
            "Request body must be a JSON object"
        );
    }
    assert!(began.elapsed() < SOON * 3, "{:?}", began.elapsed());
}

#[tokio::test]
async fn long_urls_and_packed_bodies() {
    let bench = Bench::idle(KEYS);
    let url = format!("http://example.org/{}", "x".repeat(20 << 20));
    let refused = bench.v2(json!({ "subject_image": url })).await.error(400);
    assert_eq!(refused, "subject_image: URL too long (at most 8192 bytes)");
    let headers = [("x-api-key", "K"), ("content-type", "application/json"), ("content-encoding", "gzip")];
    for path in ["/v1/material-transfer", "/upload-asset"] {
        let packed = bench.send(request("POST", path, &headers, vec![0x1f, 0x8b, 8].into())).await;
        assert!(packed.error(415).contains("Content-Encoding gzip"));
    }
    let heic = BASE64_STANDARD.encode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    assert!(bench.v2(json!({ "subject_image": heic })).await.error(400).contains("this is HEIC"));
}

/// Many tiny files in one upload, and many uploads.
#[tokio::test]
async fn uploads_are_bounded() {
    let bench = Bench::idle(&format!("{KEYS}upload_files = 20"));
    let many = |count: usize| json!({ "data_urls": vec![data_uri(&png(64, 64, 1)); count] });
    let heads = json!({ "data_urls": vec!["/9j/"; 16] });
    assert!(
        bench.post("/upload-asset", &heads).await.error(400).starts_with("data_urls: "),
        "no picture at all"
    );
    for count in [17, 3000] {
        let refused = bench.post("/upload-asset", &many(count)).await.error(400);
        assert_eq!(refused, "data_urls: must be at most 16 pictures");
    }
    let files = || std::fs::read_dir(bench.folder.path().join("blobs")).unwrap().count();
    assert_eq!(files(), 0);
    assert_eq!(bench.post("/upload-asset", &many(16)).await.status, 200);
    let refused = bench.post("/upload-asset", &many(16)).await;
    assert!(refused.error(429).contains("uploads"));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    let began = Instant::now();
    while files() != 16 {
        assert!(began.elapsed() < SOON, "what was stored for nothing is deleted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.v2(json!({})).await.status, 200, "transfers are another matter");
}

/// A huge box is granted as far as the server's own goes, and the true size is told.
#[tokio::test]
async fn the_output_has_a_size_limit() {
    let bench = Bench::start(&format!("{KEYS}max_output_pixels = 10000"));
    let subject = data_uri(&png(400, 300, 3));
    let large = json!({ "subject_image": subject, "max_width": 2_000_000_000, "max_height": 2_000_000_000 });
    let answer = bench.v1(large).await;
    let (width, height) = answer.picture().dimensions();
    assert!(width * height <= 10_000 && width * height > 9000, "{width} x {height}");
    assert!((f64::from(width) / f64::from(height) - 4.0 / 3.0).abs() < 0.05);
    let metadata: serde_json::Value = serde_json::from_str(answer.header("x-output-metadata")).unwrap();
    assert_eq!(
        (metadata["width"].as_u64(), metadata["height"].as_u64()),
        (Some(width.into()), Some(height.into()))
    );
}

/// A job that takes too long ends, and so does its claim on the worker.
#[tokio::test]
async fn a_job_has_a_time_limit() {
    let bench = Bench::start(&format!("{KEYS}job_timeout = \"1s\""));
    let late = bench.v1(json!({ "prompt": "sleep 60000" })).await;
    assert!(late.error(504).starts_with("Request timed out"));
    let (_, status) = bench.run(json!({ "prompt": "sleep 60000" })).await;
    assert!(status.error(422).starts_with("Request timed out"));
    bench.v1(json!({})).await.picture();
}

/// A host that takes connections and never says a word holds no worker.
#[tokio::test]
async fn a_host_that_never_answers_stops_nobody() {
    let bench = Bench::start(KEYS);
    let tarpit = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x.png", tarpit.local_addr().unwrap());
    let stuck = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = tarpit.accept().await {
            held.push(stream);
        }
    });
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(bench.v2(json!({ "subject_image": url })).await.json());
    }
    let began = Instant::now();
    bench.v1(json!({})).await.picture();
    let host = picture_host().await;
    bench.v1(json!({ "subject_image": format!("{host}/subject.png") })).await.picture();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let status = bench.get(waiting[0]["status_url"].as_str().unwrap()).await.json();
    assert_eq!(status["status"], "QUEUED", "its pictures are not there yet");
    stuck.abort();
}

/// One key's flood is no reason to turn another away, nor to let it wait behind all of it.
#[tokio::test]
async fn keys_take_turns() {
    let bench = Bench::idle(&format!("{KEYS}queue_limit_per_key = 3"));
    for _ in 0..3 {
        assert_eq!(bench.v2(json!({})).await.status, 200);
    }
    let mut waits = Vec::new();
    for _ in 0..3 {
        let refused = bench.v2(json!({})).await;
        refused.error(429);
        waits.push(refused.header("retry-after").parse::<u64>().unwrap());
    }
    assert!(waits.is_sorted() && waits[0] < waits[2], "each is told a moment of its own: {waits:?}");
    let headers = [("x-api-key", "K2"), ("content-type", "application/json")];
    let body = ok(json!({})).to_string();
    let other = bench.send(request("POST", "/v2/material-transfer", &headers, body.into())).await;
    assert_eq!(other.json()["queue_position"], 1, "after the first of the flood, or before it");
}

/// A web page that its user only visits must not get at the server of its user.
#[tokio::test]
async fn pages_of_other_sites() {
    let open = Bench::start("");
    let body = || {
        form(
            [("material_image".to_owned(), png(96, 128, 200)), ("subject_image".to_owned(), png(96, 128, 2))]
                .into_iter(),
        )
    };
    let kind = ("content-type", "multipart/form-data; boundary=B");
    for origin in ["https://evil.example", "null", "http://bench:9000"] {
        let headers = [kind, ("origin", origin)];
        for path in ["/v1/material-transfer", "/v2/material-transfer", "/upload-asset"] {
            let refused = open.send(request("POST", path, &headers, body().into())).await;
            assert!(refused.error(403).contains("cors_origins"), "{origin}");
        }
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-private-network", "true"),
        ];
        let answer = open.send(request("OPTIONS", "/v1/material-transfer", &preflight, Body::empty())).await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        assert!(!answer.headers.contains_key("access-control-allow-private-network"));
    }
    let own = [kind, ("origin", "http://bench:8000")];
    open.send(request("POST", "/v1/material-transfer", &own, body().into())).await.picture();
    open.send(request("POST", "/v1/material-transfer", &[kind], body().into())).await.picture();
    let listed = Bench::idle("cors_origins = [\"https://app.example\"]");
    let headers = [kind, ("origin", "https://app.example")];
    let sent = listed.send(request("POST", "/v2/material-transfer", &headers, body().into())).await;
    assert_eq!(
        (sent.status.as_u16(), sent.header("access-control-allow-origin")),
        (200, "https://app.example")
    );
}

/// What is of one moment and one caller is kept by nobody in between; files are asked for in parts, or not again.
#[tokio::test]
async fn what_may_be_kept() {
    let bench = Bench::start(KEYS);
    let v1 = bench.v1(json!({})).await;
    assert_eq!((v1.header("cache-control"), v1.header("x-content-type-options")), ("no-store", "nosniff"));
    let (submitted, status) = bench.run(json!({})).await;
    assert_eq!(status.header("cache-control"), "no-store");
    let result = bench.get(submitted["response_url"].as_str().unwrap()).await.json();
    let path = result["output"].as_str().unwrap().strip_prefix("http://bench:8000").unwrap().to_owned();
    let get =
        async |headers: &[(&str, &str)]| bench.send(request("GET", &path, headers, Body::empty())).await;
    let whole = get(&[]).await;
    assert_eq!((whole.header("accept-ranges"), whole.header("x-content-type-options")), ("bytes", "nosniff"));
    let tag = whole.header("etag").to_owned();
    let part = get(&[("range", "bytes=10-19"), ("if-range", &tag)]).await;
    assert_eq!((part.status.as_u16(), &part.bytes[..]), (206, &whole.bytes[10..20]));
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", whole.bytes.len()));
    assert_eq!(get(&[("range", "bytes=-4")]).await.bytes, whole.bytes[whole.bytes.len() - 4..]);
    assert_eq!(get(&[("range", "bytes=0-"), ("if-range", "\"other\"")]).await.status, 200);
    let none = get(&[("range", "bytes=99999999-")]).await;
    none.error(416);
    assert_eq!(none.header("content-range"), format!("bytes */{}", whole.bytes.len()));
    let known = get(&[("if-none-match", &tag)]).await;
    assert_eq!((known.status.as_u16(), known.bytes.len()), (304, 0));
    let docs = bench.send(request("GET", "/docs", &[], Body::empty())).await;
    assert!(docs.header("content-security-policy").starts_with("default-src 'none'"));
}

/// Bodies that never end hold their client's share of the memory; what finds none left is told so, after a while.
#[tokio::test]
async fn a_body_that_finds_no_room_is_to_come_again() {
    let bench = Bench::idle(&format!("{KEYS}body_memory = \"4MiB\""));
    let headers = [("x-api-key", "K"), ("content-type", "application/json"), ("content-length", "1048576")];
    let endless = || {
        let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        bench.send(request("POST", "/v2/material-transfer", &headers, body))
    };
    let refused = tokio::select! {
        _ = endless() => unreachable!("its body never comes"),
        _ = endless() => unreachable!("its body never comes"),
        refused = async {
            // The two others have asked by then.
            tokio::time::sleep(Duration::from_millis(200)).await;
            endless().await
        } => refused,
    };
    assert!(refused.error(503).contains("busy. Retry in 5 s"));
    assert_eq!(refused.header("retry-after"), "5");
}
