//! The life of jobs as clients see it: deadlines, going away, expiry, restarts, shutting down, broken engines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use serde_json::json;
use server::{App, EngineFactory, Workers};

use crate::fixture::*;

/// SHA-256 of the key that the fixture calls with.
const SHA256_OF_K: &str = "86be9a55762d316a3026c2836d044f5fc76e34da10e1b45feee5f18be7edb177";

/// F-78: 504 with the id, and the picture can still be had.
#[tokio::test]
async fn a_deadline_names_the_job_that_goes_on() {
    let bench = Bench::start(&format!("{KEYS}v1_deadline = \"100ms\""));
    let late = bench.v1(json!({ "prompt": "sleep 400" })).await;
    assert_eq!(late.error(504), "Request timed out; the job goes on, poll its request_id");
    let id = late.json()["request_id"].as_str().unwrap().to_owned();
    assert_eq!(late.header("x-request-id"), id);
    loop {
        let result = bench.get(&format!("/v2/requests/{id}")).await;
        assert_eq!(result.status, 200);
        if let Some(url) = result.json()["output"].as_str() {
            bench.get(url).await.picture();
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// C.5: nobody can fetch the picture of a call that was given up, so it is not made.
#[tokio::test]
async fn a_client_that_goes_away_cancels() {
    let bench = Bench::start(KEYS);
    let waiting = bench.v1(json!({ "prompt": "sleep 60000" }));
    tokio::time::timeout(Duration::from_millis(300), waiting).await.unwrap_err();
    let started = Instant::now();
    bench.v1(json!({})).await.picture();
    assert!(started.elapsed() < Duration::from_secs(10), "the worker is free again");
    let metrics = String::from_utf8(bench.get("/metrics").await.bytes).unwrap();
    assert!(metrics.contains("jobs_ended_total{ending=\"cancelled\"} 1"), "{metrics}");
}

/// Cancelling: a waiting job is over at once, a running one soon; asking again changes nothing; the credits come back.
#[tokio::test]
async fn a_client_cancels_its_jobs() {
    let bench = Bench::start(&format!("[[keys]]\nid = \"k\"\nsha256 = \"{SHA256_OF_K}\"\ncredits = 5\n"));
    let running = bench.v2(json!({ "prompt": "sleep 60000" })).await.json();
    let waiting = bench.v2(json!({})).await.json();
    let cancel =
        |job: &serde_json::Value| format!("/v2/requests/{}/cancel", job["request_id"].as_str().unwrap());

    let over = bench.call("POST", &cancel(&waiting), Body::empty()).await;
    assert_eq!((over.status.as_u16(), over.json()["status"].as_str()), (200, Some("FAILED")));
    assert_eq!(over.json()["error"], "Request was cancelled");
    assert_eq!(over.header("x-request-id"), waiting["request_id"].as_str().unwrap());
    assert_eq!(
        bench.call("POST", &cancel(&waiting), Body::empty()).await.json(),
        over.json(),
        "once is enough"
    );

    assert_eq!(bench.call("POST", &cancel(&running), Body::empty()).await.status, 200);
    let begun = Instant::now();
    let url = running["status_url"].as_str().unwrap();
    while bench.get(url).await.json()["status"] != "FAILED" {
        assert!(begun.elapsed() < Duration::from_secs(5), "a running job stops soon");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bench.get(url).await.error(422), "Request was cancelled");
    assert_eq!(bench.get("/v1/get-user-credits").await.json()["credits"], 5, "neither costs anything");

    let (done, result) = bench.run(json!({})).await;
    let after = bench.call("POST", &cancel(&done), Body::empty()).await;
    assert_eq!((after.status.as_u16(), after.json()), (200, result.json()), "what is over stays as it is");
}

/// Other people's jobs, unknown ones and nonsense are one and the same 404; without a key there is no answer at all.
#[tokio::test]
async fn nobody_cancels_the_jobs_of_others() {
    let bench = Bench::idle("api_key = [\"K\", \"K2\"]\n");
    let job = bench.v2(json!({})).await.json();
    let id = job["request_id"].as_str().unwrap();
    let post = async |id: &str, key: &str| {
        let path = format!("/v2/requests/{id}/cancel");
        bench.send(request("POST", &path, &[("x-api-key", key)], Body::empty())).await
    };
    assert_eq!(post(id, "K2").await.error(404), format!("Request {id} not found"));
    assert_eq!(post("nonsense", "K").await.error(404), "Request nonsense not found");
    post(&uuid::Uuid::new_v4().to_string(), "K").await.error(404);
    post(id, "BAD").await.error(401);
    assert_eq!(bench.get(job["status_url"].as_str().unwrap()).await.json()["status"], "QUEUED");
}

/// F-60 to F-64.
#[tokio::test]
async fn expiry_is_exact_and_complete() {
    let bench = Bench::start(&format!("{KEYS}result_ttl = \"1s\""));
    let (submitted, _) = bench.run(json!({ "prompt": "sleep 1200" })).await;
    let done = Instant::now();
    let urls =
        ["status_url", "response_url", "poll_url"].map(|name| submitted[name].as_str().unwrap().to_owned());
    for url in &urls {
        assert_eq!(bench.get(url).await.status, 200, "a job longer than the time to live is there");
    }
    let output = bench.get(&urls[1]).await.json()["output"].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&output).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1050).saturating_sub(done.elapsed())).await;
    for url in &urls {
        let gone = bench.get(url).await;
        assert_eq!(
            gone.error(404),
            format!("Request {} not found", submitted["request_id"].as_str().unwrap())
        );
    }
    bench.get(&output).await.error(404);

    let (submitted, status) = bench.run(json!({ "prompt": "fail" })).await;
    status.error(422);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    bench.get(submitted["status_url"].as_str().unwrap()).await.error(404);
}

/// F-73: what was accepted is there after a restart.
#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (done, body, waiting) = {
        let bench = Bench::on(folder, KEYS, true);
        let (done, _) = bench.run(json!({})).await;
        let body = bench.get(done["response_url"].as_str().unwrap()).await.bytes;
        let slow = bench.v2(json!({ "prompt": "sleep 60000" })).await;
        assert_eq!(slow.status, 200);
        let waiting = bench.v2(json!({ "seed": 9 })).await.json();
        // Everything but the thread of the worker is gone at the end of this block; its job is not over.
        let kept = tempfile::tempdir().unwrap();
        copy(&path, kept.path());
        (done, body, (waiting, kept))
    };
    let (waiting, kept) = waiting;
    let bench = Bench::on(kept, KEYS, true);
    assert_eq!(bench.get(done["response_url"].as_str().unwrap()).await.bytes, body, "byte for byte");
    // The interrupted job is begun again and takes its minute, so the one behind it is still there and waits.
    let status = bench.get(waiting["status_url"].as_str().unwrap()).await.json();
    assert_eq!(status["status"], "QUEUED");
}

/// A copy of the folder while the server runs is what a crash would leave.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// While the model is loaded requests queue up; when it cannot be loaded they are refused.
#[tokio::test]
async fn loading_and_failing_to_load() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow: EngineFactory = Arc::new(move |_| {
        let _ = wait.lock().unwrap().recv();
        Ok(Arc::new(Inverter) as Arc<dyn pipeline::Engine>)
    });
    let bench = Bench::idle(KEYS);
    let _workers = Workers::start(&bench.app, &slow).unwrap();
    let unready = bench.send(request("GET", "/health/ready", &[], Body::empty())).await;
    assert_eq!(unready.error(503), "the model is being loaded");
    let queued = bench.v2(json!({})).await.json();
    release.send(()).unwrap();
    while bench.get(queued["status_url"].as_str().unwrap()).await.json()["status"] != "COMPLETED" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let broken: EngineFactory = Arc::new(|_| Err("no weights at /secret/path".into()));
    let bench = Bench::idle(KEYS);
    Workers::start(&bench.app, &broken).unwrap().ended().await;
    let unready = bench.send(request("GET", "/health/ready", &[], Body::empty())).await;
    assert!(!unready.error(503).contains("secret"));
    let refused = bench.v2(json!({})).await;
    assert_eq!(refused.error(502), "Service temporarily unavailable. Retry in 5 s");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
}

/// An engine whose device is lost.
struct Lost;

impl pipeline::Engine for Lost {
    fn name(&self) -> &'static str {
        "lost"
    }

    fn transfer(
        &self,
        _: &pipeline::Transfer,
        _: &dyn pipeline::Progress,
        _: &pipeline::Cancel,
    ) -> Result<pipeline::Outcome, pipeline::Error> {
        Err(pipeline::Error::Device("an illegal memory access was encountered".to_owned()))
    }

    fn alive(&self) -> Result<(), pipeline::Error> {
        Err(pipeline::Error::Device("an illegal memory access was encountered".to_owned()))
    }
}

/// A worker whose device is lost ends, and fails neither its job nor those after it.
#[tokio::test]
async fn a_lost_device_takes_one_worker_and_no_job() {
    let bench = Bench::idle(KEYS);
    let lost: EngineFactory = Arc::new(|_| Ok(Arc::new(Lost) as Arc<dyn pipeline::Engine>));
    // Accepted before there is a worker: once the only one has ended, jobs are refused.
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(bench.v2(json!({})).await.json()["status_url"].as_str().unwrap().to_owned());
    }
    let mut workers = Workers::start(&bench.app, &lost).unwrap();
    tokio::time::timeout(Duration::from_secs(20), workers.ended()).await.expect("the worker ends");
    for job in jobs {
        let status = bench.get(&job).await.json()["status"].clone();
        assert!(status == "QUEUED" || status == "PROCESSING", "{status}");
    }
    assert_ne!(bench.send(request("GET", "/health/ready", &[], Body::empty())).await.status, 200);
}

/// A folder that is in use is an error that says so.
#[tokio::test]
async fn one_server_a_folder() {
    let bench = Bench::idle(KEYS);
    let again = App::open(config(&bench.folder, KEYS)).unwrap_err().to_string();
    assert!(
        again.contains("in use") && again.contains(&bench.folder.path().display().to_string()),
        "{again}"
    );
}
