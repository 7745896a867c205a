//! What this server adds to steer jobs: waiting polls, submissions that come twice, lists, deleting, events.

use std::time::{Duration, Instant};

use axum::body::Body;
use pipeline::{OutputFormat, Picture};
use serde_json::{Value, json};

use crate::fixture::*;

/// SHA-256 of the key that the fixture calls with.
const SHA256_OF_K: &str = "86be9a55762d316a3026c2836d044f5fc76e34da10e1b45feee5f18be7edb177";

fn id_of(submitted: &Answer) -> String {
    submitted.json()["request_id"].as_str().unwrap().to_owned()
}

async fn named(bench: &Bench, version: &str, name: &str, changes: Value) -> Answer {
    let headers = [("x-api-key", "K"), ("content-type", "application/json"), ("idempotency-key", name)];
    let path = format!("/{version}/material-transfer");
    bench.send(request("POST", &path, &headers, ok(changes).to_string().into())).await
}

async fn delete(bench: &Bench, id: &str) -> Answer {
    bench.call("DELETE", &format!("/v2/requests/{id}"), Body::empty()).await
}

#[tokio::test]
async fn a_poll_waits_for_the_next_state_and_no_longer() {
    let bench = Bench::start(KEYS);
    let first = id_of(&bench.v2(json!({ "prompt": "sleep 600" })).await);
    let second = id_of(&bench.v2(json!({ "prompt": "sleep 100" })).await);
    let begun = Instant::now();
    let status = bench.get(&format!("/v2/requests/{second}/status?wait=60")).await.json();
    assert_ne!(status["status"], "QUEUED", "its turn came");
    let over = bench.get(&format!("/v2/requests/{second}?wait=60")).await;
    assert_eq!(
        (over.json()["status"].as_str(), over.json()["output"].is_string()),
        (Some("COMPLETED"), true)
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waited for the whole minute");
    let again = Instant::now();
    let over = bench.get(&format!("/v2/requests/{first}/status?wait=60")).await.json();
    assert_eq!(over["status"], "COMPLETED");
    assert!(again.elapsed() < Duration::from_secs(5), "what is over does not change");
    bench.get(&format!("/v2/requests/{}?wait=60", uuid())).await.error(404);
}

fn uuid() -> &'static str {
    "00000000-0000-4000-8000-000000000000"
}

#[tokio::test]
async fn a_wait_has_an_end_and_a_limit() {
    let bench = Bench::idle(&format!("{KEYS}max_waiting = 2"));
    let id = id_of(&bench.v2(json!({})).await);
    let url = format!("/v2/requests/{id}/status");
    let begun = Instant::now();
    assert_eq!(bench.get(&format!("{url}?wait=1")).await.json()["status"], "QUEUED");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    for bad in ["61", "-1", "x", ""] {
        let error = bench.get(&format!("{url}?wait={bad}")).await.error(400);
        assert!(error.starts_with("wait: "), "{error}");
    }
    // Half of the places are one key's.
    let path = format!("{url}?wait=60");
    let (held, begun) = (bench.get(&path), Instant::now());
    tokio::pin!(held);
    assert!(tokio::time::timeout(Duration::from_millis(100), held.as_mut()).await.is_err());
    assert_eq!(bench.get(&format!("{url}?wait=60")).await.json()["status"], "QUEUED", "answered at once");
    bench.get(&format!("/v2/requests/{id}/events")).await.error(503);
    assert_eq!(delete(&bench, &id).await.status, 204);
    held.await.error(404);
    assert!(begun.elapsed() < Duration::from_secs(10), "that it is gone is a change");
}

#[tokio::test]
async fn the_same_key_leads_to_the_same_job() {
    let bench = Bench::start(&format!("[[keys]]\nid = \"k\"\nsha256 = \"{SHA256_OF_K}\"\ncredits = 1\n"));
    let first = named(&bench, "v2", "order-1", json!({})).await;
    assert!(first.headers.get("idempotent-replayed").is_none());
    let id = id_of(&first);
    // Without credits, and after the end.
    bench.get(&format!("/v2/requests/{id}?wait=60")).await;
    let again = named(&bench, "v2", "order-1", json!({ "steps": "1" })).await;
    assert_eq!((id_of(&again), again.header("idempotent-replayed")), (id.clone(), "true"));
    assert_eq!(again.json()["status_url"], first.json()["status_url"]);
    let v1 = named(&bench, "v1", "order-1", json!({})).await;
    v1.picture();
    assert_eq!(v1.header("x-request-id"), id);
    let other = named(&bench, "v2", "order-1", json!({ "seed": 8 })).await;
    assert!(other.error(409).contains("Idempotency-Key"));
    assert_eq!(other.json()["request_id"], id);
    named(&bench, "v2", "order-2", json!({})).await.error(406);
    assert!(named(&bench, "v2", "a b", json!({})).await.error(400).starts_with("Idempotency-Key: "));
    assert_eq!(delete(&bench, &id).await.status, 204);
    named(&bench, "v2", "order-1", json!({})).await.error(406);
}

#[tokio::test]
async fn keys_that_come_at_once_make_one_job_and_leave_no_files() {
    let bench = Bench::idle(KEYS);
    let calls = (0..6).map(|_| named(&bench, "v2", "once", json!({})));
    let ids: std::collections::HashSet<_> =
        futures::future::join_all(calls).await.iter().map(id_of).collect();
    assert_eq!(ids.len(), 1);
    let stored = || {
        let files = std::fs::read_dir(bench.folder.path().join("blobs")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "png")).count()
    };
    let begun = Instant::now();
    while stored() > 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} files; the job has two pictures", stored());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stored(), 2);
}

#[tokio::test]
async fn a_key_is_known_after_a_restart() {
    let bench = Bench::idle(KEYS);
    let id = id_of(&named(&bench, "v2", "order", json!({})).await);
    let folder = bench.close();
    let bench = Bench::on(folder, KEYS, false);
    assert_eq!(id_of(&named(&bench, "v2", "order", json!({})).await), id);
    named(&bench, "v2", "order", json!({ "seed": 8 })).await.error(409);
}

/// A client whose call broke off comes again for the same picture.
#[tokio::test]
async fn a_named_call_outlives_its_connection() {
    let bench = Bench::start(KEYS);
    let call = named(&bench, "v1", "call", json!({ "prompt": "sleep 500" }));
    assert!(tokio::time::timeout(Duration::from_millis(150), call).await.is_err());
    let again = named(&bench, "v1", "call", json!({ "prompt": "sleep 500" })).await;
    again.picture();
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn one_lists_ones_own_jobs() {
    let bench = Bench::idle(KEYS);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, id_of(&bench.v2(json!({})).await));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bench.post("/upload-asset", &json!({ "data_urls": [data_uri(&png(96, 96, 1))] })).await;
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = bench.get(&format!("/v2/requests?limit=2&cursor={cursor}")).await.json();
        for job in page["requests"].as_array().unwrap() {
            assert_eq!((&job["status"], job["metrics"].is_object()), (&json!("QUEUED"), true));
            assert!(job["submitted_at"].as_str().unwrap().ends_with('Z'));
            listed.push(job["request_id"].as_str().unwrap().to_owned());
        }
        cursor = page["next_cursor"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((listed, cursor), (ids.clone(), String::new()));
    bench.call("POST", &format!("/v2/requests/{}/cancel", ids[0]), Body::empty()).await;
    let failed = bench.get("/v2/requests?status=failed").await.json();
    assert_eq!(failed["requests"].as_array().unwrap().len(), 1);
    assert_eq!(failed["requests"][0]["error"], "Request was cancelled");
    for bad in ["limit=0", "limit=101", "status=DONE", "cursor=x"] {
        let error = bench.get(&format!("/v2/requests?{bad}")).await.error(400);
        assert!(error.starts_with(bad.split('=').next().unwrap()), "{error}");
    }
    let other = bench.send(request("GET", "/v2/requests", &[("x-api-key", "K2")], Body::empty())).await;
    assert_eq!(other.json(), json!({ "requests": [] }));
    bench.send(request("GET", "/v2/requests", &[], Body::empty())).await.error(401);
}

#[tokio::test]
async fn what_is_deleted_is_gone_at_once() {
    let bench = Bench::start(KEYS);
    let (submitted, _) = bench.run(json!({})).await;
    let id = submitted["request_id"].as_str().unwrap();
    let picture =
        bench.get(&format!("/v2/requests/{id}")).await.json()["output"].as_str().unwrap().to_owned();
    let running = id_of(&bench.v2(json!({ "prompt": "sleep 60000" })).await);
    let waiting = id_of(&bench.v2(json!({})).await);
    bench.get(&format!("/v2/requests/{running}/status?wait=10")).await;
    let stranger = [("x-api-key", "K2")];
    let path = format!("/v2/requests/{id}");
    bench.send(request("DELETE", &path, &stranger, Body::empty())).await.error(404);
    for id in [id, &running, &waiting] {
        let gone = delete(&bench, id).await;
        assert_eq!((gone.status.as_u16(), gone.bytes.len(), gone.header("x-request-id")), (204, 0, id));
        delete(&bench, id).await.error(404);
        bench.get(&format!("/v2/requests/{id}/status")).await.error(404);
    }
    bench.get(&picture).await.error(404);
    assert_eq!(bench.get("/v2/requests").await.json()["requests"], json!([]));
    let begun = Instant::now();
    bench.v1(json!({})).await.picture();
    assert!(begun.elapsed() < Duration::from_secs(10), "the worker is free again");
}

#[tokio::test]
async fn what_was_measured_tells_how_long_it_takes() {
    let bench = Bench::start(KEYS);
    let first = id_of(&bench.v2(json!({ "prompt": "sleep 1500" })).await);
    let status = bench.get(&format!("/v2/requests/{first}/status")).await.json();
    assert!(status.get("eta_seconds").is_none(), "nothing was measured yet: {status}");
    bench.get(&format!("/v2/requests/{first}?wait=60")).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let running = id_of(&bench.v2(json!({ "prompt": "sleep 1500" })).await);
    let waiting = id_of(&bench.v2(json!({})).await);
    let eta =
        async |id: &str| bench.get(&format!("/v2/requests/{id}/status")).await.json()["eta_seconds"].as_u64();
    let (soon, later) = (eta(&running).await.unwrap(), eta(&waiting).await.unwrap());
    assert!((1..=3).contains(&soon) && (2..=5).contains(&later), "{soon} {later}");
    bench.get(&format!("/v2/requests/{waiting}?wait=60")).await;
    assert_eq!(eta(&waiting).await, None);
}

/// The data of each event.
fn events(stream: &Answer) -> Vec<Value> {
    assert_eq!(stream.header("content-type"), "text/event-stream");
    let text = String::from_utf8(stream.bytes.clone()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn events_tell_every_state_and_end_with_the_job() {
    let bench = Bench::start(KEYS);
    let first = id_of(&bench.v2(json!({ "prompt": "sleep 500" })).await);
    let second = id_of(&bench.v2(json!({ "prompt": "sleep 2500" })).await);
    let url = format!("/v2/requests/{second}/events");
    let stream = bench.get(&url).await;
    let said = events(&stream);
    let states: Vec<&str> = said.iter().map(|status| status["status"].as_str().unwrap()).collect();
    let mut order = states.clone();
    order.dedup();
    assert_eq!(order, ["QUEUED", "PROCESSING", "COMPLETED"]);
    assert!(
        states.iter().filter(|state| **state == "PROCESSING").count() > 1,
        "progress is told: {states:?}"
    );
    assert_eq!(said.last(), Some(&bench.get(&format!("/v2/requests/{second}/status")).await.json()));
    assert_eq!(events(&bench.get(&url).await).len(), 1, "the last state is told again");
    let headers = [("x-api-key", "K"), ("last-event-id", "COMPLETED")];
    assert_eq!(bench.send(request("GET", &url, &headers, Body::empty())).await.status, 204);
    let failed = id_of(&bench.v2(json!({ "prompt": "fail" })).await);
    let said = events(&bench.get(&format!("/v2/requests/{failed}/events")).await);
    assert_eq!(said.last().unwrap()["error"], "Internal server error");
    bench.get(&format!("/v2/requests/{}/events", uuid())).await.error(404);
    bench.send(request("GET", &format!("/v2/requests/{first}/events"), &[], Body::empty())).await.error(401);
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_does_nothing() {
    let key = format!("[[keys]]\nid = \"k\"\nsha256 = \"{SHA256_OF_K}\"\ncredits = 1\n");
    let bench = Bench::idle(&format!("fetch_allow = [\"127.0.0.0/8\"]\n{key}"));
    let host = picture_host().await;
    let changes = json!({
        "dry_run": true, "subject_image": format!("{host}/subject.png"), "seed": "absent", "max_width": 10_000,
        "max_height": 10_000, "stepz": 3,
    });
    for answer in [bench.v2(changes.clone()).await, bench.v1(changes.clone()).await] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = answer.json();
        assert_eq!((&said["dry_run"], &said["cost"]), (&json!(true), &json!(1)));
        assert_eq!(
            (&said["parameters"]["steps"], &said["parameters"]["guidance_scale"]),
            (&json!(1), &json!(2.0))
        );
        assert_eq!(said["parameters"]["seed"], json!(null));
        let subject = json!({
            "name": "subject_image", "content_type": "image/png", "file_size": png(160, 96, 40).len(), "width": 160, "height": 96,
        });
        assert!(said["pictures"].as_array().unwrap().contains(&subject), "{said}");
        assert_eq!(said["notes"], json!(["stepz is not a parameter; did you mean steps?"]));
    }
    for (picture, part) in [("/page.html", "not a readable image"), ("/none.png", "HTTP 404")] {
        let wrong = json!({ "dry_run": true, "subject_image": format!("{host}{picture}") });
        let error = bench.v2(wrong).await.error(400);
        assert!(error.starts_with("subject_image: ") && error.contains(part), "{error}");
    }
    bench.v2(json!({ "dry_run": true, "steps": 0 })).await.error(400);
    assert_eq!(bench.get("/v2/requests").await.json()["requests"], json!([]));
    assert_eq!(bench.get("/v1/get-user-credits").await.json()["credits"], 1);
}

/// Browsers follow a job without a key, by the URL they were given, and get nowhere else with it.
#[tokio::test]
async fn a_ticket_opens_one_stream() {
    let bench = Bench::start(KEYS);
    let bare = async |url: &str| {
        let path = url.strip_prefix("http://bench:8000").unwrap();
        bench.send(request("GET", path, &[], Body::empty())).await
    };
    let [first, second] = [bench.v2(json!({})).await.json(), bench.v2(json!({})).await.json()];
    let url = first["events_url"].as_str().unwrap();
    let said = events(&bare(url).await);
    assert_eq!(said.last().unwrap()["status"], "COMPLETED");
    assert_eq!(said.last().unwrap()["request_id"], first["request_id"]);
    let ticket = url.split_once('?').unwrap().1;
    let of_the_other = second["events_url"].as_str().unwrap().split_once('?').unwrap().0;
    for closed in [
        format!("{of_the_other}?{ticket}"),
        url.split_once('?').unwrap().0.to_owned(),
        format!("{}?ticket=", url.split_once('?').unwrap().0),
        format!("{}?{ticket}", first["status_url"].as_str().unwrap()),
        format!("{}?{ticket}", first["response_url"].as_str().unwrap()),
    ] {
        bare(&closed).await.error(401);
    }
    let stranger = [("x-api-key", "K2")];
    let path = format!("/v2/requests/{}/events?ticket=x", first["request_id"].as_str().unwrap());
    bench.send(request("GET", &path, &stranger, Body::empty())).await.error(404);
}

#[tokio::test]
async fn what_is_no_parameter_is_named_in_the_result() {
    let bench = Bench::start(KEYS);
    let (submitted, _) = bench.run(json!({ "stepz": 3, "scheduler": "ddim" })).await;
    let result = bench.get(submitted["response_url"].as_str().unwrap()).await.json();
    let notes = result["notes"].as_array().unwrap();
    assert_eq!(notes[0], "scheduler is not a parameter and was ignored");
    assert_eq!(notes[1], "stepz is not a parameter; did you mean steps?");
    assert_eq!(notes.len(), 3, "and what the engine says: {notes:?}");
}

/// A form with two pictures under `image[]`, and these texts.
fn edit(texts: &[(&str, &str)], pictures: &[Vec<u8>]) -> Body {
    masked_edit(texts, pictures, None)
}

/// The same with a mask.
fn masked_edit(texts: &[(&str, &str)], pictures: &[Vec<u8>], mask: Option<&Vec<u8>>) -> Body {
    let mut form = Vec::new();
    for (name, value) in texts {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        form.extend_from_slice(head.as_bytes());
    }
    let pictures = pictures.iter().map(|picture| ("image[]", picture));
    for (name, picture) in pictures.chain(mask.map(|mask| ("mask", mask))) {
        let head = format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n"
        );
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(picture);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--B--\r\n");
    form.into()
}

#[tokio::test]
async fn edits_in_the_words_of_openai() {
    use base64::Engine as _;
    let bench = Bench::start(KEYS);
    let pictures = [png(160, 96, 40), png(96, 128, 200)];
    let call = async |key: &str, body: Body| {
        let headers = [("authorization", key), ("content-type", "multipart/form-data; boundary=B")];
        bench.send(request("POST", "/v1/images/edits", &headers, body)).await
    };
    let inline =
        call("Bearer K", edit(&[("prompt", "gold"), ("size", "128x128"), ("model", "any")], &pictures)).await;
    assert_eq!(inline.status, 200, "{inline:?}");
    let said = inline.json();
    assert_eq!((&said["output_format"], &said["size"]), (&json!("png"), &json!("128x77")));
    let file =
        base64::prelude::BASE64_STANDARD.decode(said["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    assert_eq!(image::load_from_memory(&file).unwrap().to_rgb8().dimensions(), (128, 77));
    assert_eq!(inline.header("content-length"), inline.bytes.len().to_string());
    let job = bench.get(&format!("/v2/requests/{}", inline.header("x-request-id"))).await.json();
    assert_eq!(job["prompt"], "gold", "it is a job like any other");
    let texts = [("response_format", "url"), ("output_format", "jpeg")];
    let by_url = call("Bearer K", edit(&texts, &pictures)).await.json();
    assert_eq!(
        bench.get(by_url["data"][0]["url"].as_str().unwrap()).await.header("content-type"),
        "image/jpeg"
    );
    for (key, texts, pictures, status, kind, param) in [
        ("Bearer wrong", vec![], &pictures[..], 401, "authentication_error", Value::Null),
        ("", vec![], &pictures[..], 401, "authentication_error", Value::Null),
        ("Bearer K", vec![], &pictures[..1], 400, "invalid_request_error", json!("image")),
        ("Bearer K", vec![("n", "2")], &pictures[..], 400, "invalid_request_error", json!("n")),
        ("Bearer K", vec![("prompt", "fail")], &pictures[..], 500, "server_error", Value::Null),
    ] {
        let refused = call(key, edit(&texts, pictures)).await;
        assert_eq!(refused.status, status, "{refused:?}");
        let error = &refused.json()["error"];
        assert_eq!((&error["type"], &error["param"]), (&json!(kind), &param));
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let clear = Picture {
        alpha: Some(image::GrayImage::new(160, 96)),
        ..Picture::opaque(image::RgbImage::new(160, 96))
    };
    let clear = clear.encode(OutputFormat::Png, 80).unwrap();
    assert_eq!(call("Bearer K", masked_edit(&[], &pictures, Some(&clear))).await.status, 200);
    let silent = call("Bearer K", masked_edit(&[], &pictures, Some(&png(160, 96, 1)))).await;
    assert_eq!((silent.status.as_u16(), &silent.json()["error"]["param"]), (400, &json!("mask")));
    let body = json!({ "prompt": "gold" }).to_string();
    let headers = [("authorization", "Bearer K"), ("content-type", "application/json")];
    let refused = bench.send(request("POST", "/v1/images/edits", &headers, body.into())).await;
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("multipart/form-data"));
}
