//! Rights, credits, rates, the queue's bound, sizes.

use std::time::Duration;

use axum::body::Body;
use serde_json::json;

use crate::fixture::*;

/// A key `secret` with more to say about it.
fn studio(more: &str) -> String {
    format!(
        "[[keys]]\nid = \"studio\"\nsha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"\n{more}"
    )
}

async fn post(bench: &Bench, changes: serde_json::Value) -> Answer {
    let headers = [("x-api-key", "secret"), ("content-type", "application/json")];
    bench.send(request("POST", "/v1/material-transfer", &headers, ok(changes).to_string().into())).await
}

/// F-76; a failed transfer costs nothing; spent is spent, also after a restart.
#[tokio::test]
async fn credits() {
    let settings = format!("fetch_allow = [\"127.0.0.0/8\"]\n{}", studio("credits = 1"));
    let bench = Bench::start(&settings);
    post(&bench, json!({ "prompt": "fail" })).await.error(500);
    let paid = post(&bench, json!({})).await;
    assert_eq!((paid.header("x-cost"), paid.header("x-remaining-credits")), ("1", "0"));
    assert!(post(&bench, json!({})).await.error(406).to_lowercase().contains("credits"));
    let balance =
        bench.send(request("GET", "/v1/get-user-credits", &[("x-api-key", "secret")], Body::empty())).await;
    assert_eq!(balance.json()["credits"], 0);
    assert!(!bench.folder.path().join("credits.json").exists(), "they are in the records of the jobs");
}

/// C1: whatever way a job fails, and whoever ends it, the credit is back.
#[tokio::test]
async fn credits_come_back_however_a_job_ends() {
    let bench = Bench::start(&studio("credits = 3"));
    let balance = async || {
        let asked = request("GET", "/v1/get-user-credits", &[("x-api-key", "secret")], Body::empty());
        bench.send(asked).await.json()["credits"].as_u64().unwrap()
    };
    {
        let long = post(&bench, json!({ "prompt": "sleep 60000" }));
        tokio::pin!(long);
        tokio::time::timeout(Duration::from_millis(400), &mut long).await.unwrap_err();
        assert_eq!(balance().await, 2, "it runs");
        let waiting = tokio::time::timeout(Duration::from_millis(400), post(&bench, json!({}))).await;
        waiting.map(|answer| answer.status).unwrap_err();
    } // Both clients have gone.
    for _ in 0..500 {
        if balance().await == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(balance().await, 3, "the running one's and the waiting one's");
    post(&bench, json!({ "prompt": "panic" })).await.error(500);
    assert_eq!(balance().await, 3);
    post(&bench, json!({})).await.picture();
    assert_eq!(balance().await, 2);
}

/// The file of earlier versions counts, once.
#[tokio::test]
async fn credits_counted_before_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("credits.json"), "{\"studio\":2}").unwrap();
    let bench = Bench::on(folder, &studio("credits = 3"), true);
    assert_eq!(post(&bench, json!({})).await.header("x-remaining-credits"), "0");
    post(&bench, json!({})).await.error(406);
    assert!(!bench.folder.path().join("credits.json").exists());
}

/// F-77.
#[tokio::test]
async fn rates() {
    let bench = Bench::start(&studio("requests_per_minute = 2"));
    for _ in 0..2 {
        let good = post(&bench, json!({})).await;
        good.picture();
        assert!(good.header("x-rate-limit-reset-at-utc").ends_with('Z'));
    }
    let refused = post(&bench, json!({})).await;
    assert!(refused.error(429).starts_with("Rate limit exceeded. Retry in "));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait));
    assert_eq!(refused.header("x-rate-limit-reset-at-utc").len(), "2026-11-22T23:05:00Z".len());
    for _ in 0..20 {
        let poll =
            bench.send(request("GET", "/v2/requests/x", &[("x-api-key", "secret")], Body::empty())).await;
        assert_eq!(poll.status, 404, "polls are free");
    }
}

/// The 403s of D, and the order of A.11 around them.
#[tokio::test]
async fn rights() {
    let read_only = Bench::idle(&studio("permissions = [\"read\"]"));
    assert!(post(&read_only, json!({ "steps": 0 })).await.error(403).contains("may not"));
    let poll = request("GET", "/v2/requests/x", &[("x-api-key", "secret")], Body::empty());
    read_only.send(poll).await.error(404);
    let other_model = Bench::idle(&studio("models = [\"other\"]"));
    assert_eq!(
        post(&other_model, json!({})).await.error(403),
        "This API key may not use material-transfer; the operator can allow it"
    );
    let disabled = Bench::idle(&studio("disabled = true"));
    post(&disabled, json!({})).await.error(403);
    let retired = Bench::idle("retired_models = [\"material-transfer\"]");
    assert!(retired.v1(json!({})).await.error(410).contains("no longer available"));
}

/// A key with priority goes before what waits already.
#[tokio::test]
async fn priority_is_a_right_of_a_key() {
    let bench = Bench::idle(&format!("{KEYS}{}", studio("priority = 1")));
    for position in 0..2 {
        assert_eq!(bench.v2(json!({})).await.json()["queue_position"], position);
    }
    let headers = [("x-api-key", "secret"), ("content-type", "application/json")];
    let body = ok(json!({})).to_string();
    let first = bench.send(request("POST", "/v2/material-transfer", &headers, body.into())).await;
    assert_eq!(first.json()["queue_position"], 0);
    assert_eq!(bench.v2(json!({})).await.json()["queue_position"], 3, "behind it, and its own two");
}

/// A full queue is 429 with a whole number of seconds; what was accepted stays accepted.
#[tokio::test]
async fn a_full_queue() {
    let bench = Bench::idle(&format!("{KEYS}queue_limit = 2"));
    for position in 0..2 {
        assert_eq!(bench.v2(json!({})).await.json()["queue_position"], position);
    }
    let full = bench.v2(json!({ "steps": 0 })).await;
    full.error(429);
    assert!(full.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(full.headers.contains_key("x-rate-limit-reset-at-utc"));
    bench.v1(json!({})).await.error(429);
}

/// F-68, F-69: many jobs and one worker; all come through in their order, and polling stays quick.
#[tokio::test]
async fn twenty_jobs_and_one_worker() {
    let bench = Bench::start(KEYS);
    let mut jobs = Vec::new();
    for seed in 0..20 {
        jobs.push(bench.v2(json!({ "seed": seed, "prompt": "sleep 30" })).await.json());
    }
    let mut order = Vec::new();
    let mut slowest = Duration::ZERO;
    while order.len() < jobs.len() {
        for (at, job) in jobs.iter().enumerate() {
            let started = std::time::Instant::now();
            let status = bench.get(job["status_url"].as_str().unwrap()).await;
            slowest = slowest.max(started.elapsed());
            assert_eq!(status.status, 200);
            if status.json()["status"] == "COMPLETED" && !order.contains(&at) {
                order.push(at);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(order, (0..20).collect::<Vec<_>>(), "first come, first served");
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
}

/// F-70 and row 6; declared and undeclared.
#[tokio::test]
async fn bodies_too_large() {
    let bench = Bench::start(&format!("{KEYS}max_body = \"1MiB\""));
    let body = ok(json!({ "pad": "x".repeat(2 << 20) })).to_string();
    let headers = [("x-api-key", "K"), ("content-type", "application/json")];
    let declared = [headers[0], headers[1], ("content-length", "2100000")];
    for headers in [&headers[..], &declared] {
        let answer = bench.send(request("POST", "/v1/material-transfer", headers, body.clone().into())).await;
        assert_eq!(answer.error(413), "Request body too large (limit 1MiB)");
    }
    let wrong_key = [("x-api-key", "BAD"), headers[1]];
    bench.send(request("POST", "/v1/material-transfer", &wrong_key, body.into())).await.error(401);
    bench.v1(json!({})).await.picture();
}
