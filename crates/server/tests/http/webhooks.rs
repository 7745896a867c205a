//! Webhooks on real sockets: what receivers get, those that fail, and those that never answer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::fixture::*;

const SECRET: &str = "a secret of many letters";

fn settings() -> String {
    format!("{KEYS}webhook_secret = \"{SECRET}\"\n")
}

/// What a receiver was sent.
type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A receiver that answers with these statuses, one after the other, and then with 200.
async fn receiver(statuses: &[u16]) -> (String, Received) {
    let (received, left) = (Received::default(), Mutex::new(statuses.to_vec()));
    let (kept, left) = (received.clone(), Arc::new(left));
    let told = move |headers: HeaderMap, body: Bytes| async move {
        kept.lock().unwrap().push((headers, body));
        let mut left = left.lock().unwrap();
        StatusCode::from_u16(if left.is_empty() { 200 } else { left.remove(0) }).unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/told", axum::routing::post(told));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/told"), received)
}

/// A receiver that takes connections and says nothing.
async fn dead() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    format!("http://{address}/told")
}

/// Waits until the status of a job says this of its webhook.
async fn told(bench: &Bench, id: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let webhook = bench.get(&format!("/v2/requests/{id}/status")).await.json()["webhook"].clone();
        if webhook["state"] == state {
            return webhook;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{webhook}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn id_of(submitted: &Answer) -> String {
    submitted.json()["request_id"].as_str().unwrap().to_owned()
}

fn signature(headers: &HeaderMap, body: &[u8]) -> String {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn the_end_is_told_and_signed() {
    let bench = Bench::start(&settings());
    let (url, received) = receiver(&[]).await;
    let completed = id_of(&bench.v2(json!({ "webhook_url": url })).await);
    let failed = id_of(&bench.v2(json!({ "webhook_url": url, "prompt": "refuse" })).await);
    for id in [&completed, &failed] {
        let webhook = told(&bench, id, "delivered").await;
        assert_eq!(webhook["tries"][0]["outcome"], "HTTP 200");
        assert!(webhook.get("next_try_at").is_none());
    }
    let received = received.lock().unwrap().clone();
    assert_eq!(received.len(), 2, "once each, and only the end");
    for (headers, body) in &received {
        assert_eq!(headers["webhook-signature"], signature(headers, body));
        assert_eq!(headers["content-type"], "application/json");
        let sent: u64 = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(sent) < 60);
        let message: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(message["request_id"], headers["webhook-id"].to_str().unwrap());
    }
    let of = |id: &str| -> Value {
        let (_, body) = received.iter().find(|(headers, _)| headers["webhook-id"] == id).unwrap();
        serde_json::from_slice(body).unwrap()
    };
    assert_eq!(of(&completed), bench.get(&format!("/v2/requests/{completed}")).await.json());
    bench.get(of(&completed)["output"].as_str().unwrap()).await.picture();
    assert_eq!((of(&failed)["status"].as_str(), of(&failed)["error"].is_string()), (Some("FAILED"), true));
}

#[tokio::test]
async fn what_fails_is_tried_again_and_gone_is_gone() {
    let bench = Bench::start(&settings());
    let (flaky, received) = receiver(&[500]).await;
    let (gone, refusals) = receiver(&[410]).await;
    let again = id_of(&bench.v2(json!({ "webhook_url": flaky })).await);
    let over = id_of(&bench.v2(json!({ "webhook_url": gone })).await);
    assert_eq!(told(&bench, &over, "failed").await["tries"][0]["outcome"], "HTTP 410");
    let webhook = told(&bench, &again, "delivered").await;
    assert_eq!(webhook["tries"].as_array().unwrap().len(), 2, "{webhook}");
    assert_eq!(webhook["tries"][0]["outcome"], "HTTP 500");
    let received = received.lock().unwrap();
    assert_eq!(received[0].1, received[1].1, "the same message");
    assert_eq!(refusals.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_flood_to_a_dead_receiver_slows_no_job() {
    let bench = Bench::start(&settings());
    let (dead, (alive, received)) = (dead().await, receiver(&[]).await);
    let run = async |url: Option<&str>| {
        let begun = Instant::now();
        let mut ids = Vec::new();
        for _ in 0..20 {
            let changes = url.map_or(json!({}), |url| json!({ "webhook_url": url }));
            ids.push(id_of(&bench.v2(changes).await));
        }
        for id in &ids {
            let over = bench.get(&format!("/v2/requests/{id}?wait=60")).await.json();
            assert_eq!(over["status"], "COMPLETED");
        }
        (begun.elapsed(), ids)
    };
    let (without, _) = run(None).await;
    let (first, _) = run(Some(&dead)).await;
    let (second, ids) = run(Some(&dead)).await;
    let slowest = first.max(second);
    assert!(slowest < without * 3 + Duration::from_secs(1), "{slowest:?} with, {without:?} without");
    let begun = Instant::now();
    let told_soon = id_of(&bench.v2(json!({ "webhook_url": alive })).await);
    told(&bench, &told_soon, "delivered").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "others are told at once");
    assert_eq!(received.lock().unwrap().len(), 1);
    let waiting = bench.get(&format!("/v2/requests/{}/status", ids[19])).await.json();
    assert_eq!(waiting["webhook"]["state"], "pending");
}

#[tokio::test]
async fn a_restart_forgets_none() {
    let bench = Bench::idle(&settings());
    let (url, received) = receiver(&[]).await;
    let id = id_of(&bench.v2(json!({ "webhook_url": url })).await);
    bench.call("POST", &format!("/v2/requests/{id}/cancel"), axum::body::Body::empty()).await;
    assert_eq!(received.lock().unwrap().len(), 0, "nobody delivers here");
    let bench = Bench::on(bench.close(), &settings(), true);
    told(&bench, &id, "delivered").await;
    let message: Value = serde_json::from_slice(&received.lock().unwrap()[0].1).unwrap();
    assert_eq!(message["error"], "Request was cancelled");
}

#[tokio::test]
async fn receivers_are_guarded_like_pictures() {
    let bench = Bench::idle(&settings());
    for (url, part) in [
        ("http://10.0.0.1/told", "address not allowed"),
        ("http://169.254.169.254/latest", "address not allowed"),
        ("http://93.184.215.14:22/", "port 22"),
        ("ftp://example.com/", "HTTP"),
        ("/told", "HTTP"),
    ] {
        let error = bench.v2(json!({ "webhook_url": url })).await.error(400);
        assert!(error.starts_with("webhook_url: ") && error.contains(part), "{url}: {error}");
    }
    assert!(bench.v2(json!({ "webhook_url": null })).await.status.is_success());
    let off = Bench::idle(KEYS);
    let error = off.v2(json!({ "webhook_url": "https://example.com/" })).await.error(400);
    assert!(error.contains("webhook_secret"), "{error}");
}
