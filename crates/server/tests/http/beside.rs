//! What goes on beside the engine: small jobs in between, the next job's inputs, the last one's output.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobs::{BlobKey, BlobStore, Embedded, Options};
use serde_json::{Value, json};
use server::{App, Workers};
use tokio::sync::Semaphore;

use crate::fixture::*;

/// A large job that takes so many milliseconds.
fn large(milliseconds: u32) -> Value {
    let subject = data_uri(&png(1024, 1024, 1));
    json!({ "subject_image": subject, "max_width": 1024, "max_height": 1024, "steps": 150,
            "prompt": format!("sleep {milliseconds}") })
}

/// Submits a job and returns where its status is.
async fn submitted(bench: &Bench, changes: Value) -> String {
    bench.v2(changes).await.json()["status_url"].as_str().unwrap().to_owned()
}

async fn status(bench: &Bench, url: &str) -> String {
    bench.get(url).await.json()["status"].as_str().unwrap().to_owned()
}

/// Waits until a job is there.
async fn reached(bench: &Bench, url: &str, wanted: &str) {
    for _ in 0..6000 {
        if status(bench, url).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never {wanted}: {}", status(bench, url).await);
}

/// The pixels of a job that is over.
async fn picture(bench: &Bench, url: &str) -> image::RgbImage {
    let result = bench.get(url.strip_suffix("/status").unwrap()).await.json();
    bench.get(result["output"].as_str().unwrap()).await.picture()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_job_does_not_wait_for_a_large_one() {
    let bench = Bench::start("");
    let alone = submitted(&bench, large(10)).await;
    reached(&bench, &alone, "COMPLETED").await;
    let held = submitted(&bench, large(3000)).await;
    reached(&bench, &held, "PROCESSING").await;
    for _ in 0..3 {
        let small = submitted(&bench, json!({})).await;
        reached(&bench, &small, "COMPLETED").await;
        assert_eq!(status(&bench, &held).await, "PROCESSING");
    }
    let medium = json!({ "subject_image": data_uri(&png(800, 800, 1)), "max_width": 800, "max_height": 800 });
    let medium = submitted(&bench, medium).await;
    reached(&bench, &held, "COMPLETED").await;
    assert_ne!(status(&bench, &medium).await, "COMPLETED", "it is not small enough");
    assert_eq!(
        picture(&bench, &held).await,
        picture(&bench, &alone).await,
        "as if nothing had been in between"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_goes_first_where_none_may() {
    let bench = Bench::start("overtaking_pixels = 0");
    let held = submitted(&bench, large(1500)).await;
    reached(&bench, &held, "PROCESSING").await;
    let small = submitted(&bench, json!({})).await;
    reached(&bench, &held, "COMPLETED").await;
    assert_ne!(status(&bench, &small).await, "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_jobs_do_not_starve_a_large_one() {
    let bench = Bench::start("");
    let held = submitted(&bench, large(1000)).await;
    reached(&bench, &held, "PROCESSING").await;
    let mut last = String::new();
    for _ in 0..40 {
        last = submitted(&bench, json!({ "prompt": "sleep 200" })).await;
    }
    reached(&bench, &held, "COMPLETED").await;
    assert_eq!(status(&bench, &last).await, "QUEUED", "it had half of the time at least");
}

/// What is wrong with a small job is its own affair.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_job_that_fails_fails_alone() {
    let bench = Bench::start("");
    let held = submitted(&bench, large(2000)).await;
    reached(&bench, &held, "PROCESSING").await;
    for order in ["fail", "panic", "refuse"] {
        let small = submitted(&bench, json!({ "prompt": order })).await;
        reached(&bench, &small, "FAILED").await;
        assert_eq!(status(&bench, &held).await, "PROCESSING");
    }
    reached(&bench, &held, "COMPLETED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_job_is_cancelled_with_a_small_one_in_between() {
    let bench = Bench::start("");
    let held = submitted(&bench, large(60_000)).await;
    reached(&bench, &held, "PROCESSING").await;
    let small = submitted(&bench, json!({ "prompt": "sleep 800" })).await;
    reached(&bench, &small, "PROCESSING").await;
    bench
        .call(
            "POST",
            &held.replace("http://bench:8000", "").replace("/status", "/cancel"),
            axum::body::Body::empty(),
        )
        .await;
    reached(&bench, &held, "FAILED").await;
    reached(&bench, &small, "COMPLETED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_jobs_inputs_are_decoded_meanwhile() {
    let bench = Bench::start("overtaking_pixels = 0");
    let first = submitted(&bench, large(4000)).await;
    reached(&bench, &first, "PROCESSING").await;
    let next = submitted(&bench, json!({ "seed": 8 })).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(status(&bench, &first).await, "PROCESSING");
    // From here on nobody can read them any more.
    for file in std::fs::read_dir(bench.folder.path().join("blobs")).unwrap() {
        std::fs::write(file.unwrap().path(), b"gone").unwrap();
    }
    reached(&bench, &next, "COMPLETED").await;
}

/// Files whose writing can be held up.
struct Gate {
    files: Arc<Embedded>,
    open: Semaphore,
}

#[async_trait]
impl BlobStore for Gate {
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> jobs::Result<()> {
        self.open.acquire().await.unwrap().forget();
        BlobStore::put(&*self.files, key, bytes).await
    }

    async fn link(&self, from: &BlobKey, to: &BlobKey) -> jobs::Result<bool> {
        self.files.link(from, to).await
    }

    async fn open(&self, key: &BlobKey) -> jobs::Result<Option<(std::fs::File, u64)>> {
        BlobStore::open(&*self.files, key).await
    }

    async fn get(&self, key: &BlobKey) -> jobs::Result<Option<Bytes>> {
        BlobStore::get(&*self.files, key).await
    }

    async fn delete(&self, key: &BlobKey) -> jobs::Result<()> {
        BlobStore::delete(&*self.files, key).await
    }

    async fn keys(&self) -> jobs::Result<Vec<BlobKey>> {
        self.files.keys().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_job_computes_while_the_last_ones_output_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let files = Embedded::open(folder.path(), Options::default()).unwrap();
    // Room for the inputs of two jobs.
    let gate = Arc::new(Gate { files: files.clone(), open: Semaphore::new(4) });
    let app = App::with_stores(config(&folder, ""), files, gate.clone()).unwrap();
    let bench = Bench::around(app.clone());
    let (first, next) = (submitted(&bench, json!({})).await, submitted(&bench, json!({ "seed": 8 })).await);
    let _workers = Workers::start(&app, &inverter()).unwrap();
    reached(&bench, &next, "PROCESSING").await;
    assert_eq!(status(&bench, &first).await, "PROCESSING", "its output cannot be stored yet");
    gate.open.add_permits(2);
    for job in [&first, &next] {
        reached(&bench, job, "COMPLETED").await;
        picture(&bench, job).await;
    }
}
