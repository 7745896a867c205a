//! What the embedded home costs, on the disk under the temporary folder: `cargo bench -p jobs`.
//! Prints jobs per second for submitting and for whole lives (submit, claim, complete), alone and with 32 callers at
//! once, and how long a poll takes meanwhile.

#![allow(clippy::unwrap_used)] // A bench that fails should stop.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jobs::{BlobKey, BlobStore, Embedded, JobStore, NewJob, Options};
use serde_json::json;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(60);

fn new_job(inputs: Vec<BlobKey>) -> NewJob {
    let payload = json!({ "prompt": "marble sculpture", "seed": 7, "steps": 20, "max_width": 1024 });
    NewJob { id: Uuid::new_v4(), owner: "open".into(), payload, inputs, ..NewJob::default() }
}

/// Runs `count` times `work`, by `callers` tasks at once; prints the rate.
async fn rate<F: Future<Output = ()> + Send>(
    what: &str,
    callers: usize,
    count: usize,
    work: impl Fn() -> F + Clone + Send + 'static,
) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let work = work.clone();
            tokio::spawn(async move {
                for _ in 0..count / callers {
                    work().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("{what:<44} {callers:>3} callers {:>9.0} / s", count as f64 / start.elapsed().as_secs_f64());
}

/// Polls until told to stop; prints the distribution.
async fn poll(jobs: Arc<dyn JobStore>, id: Uuid, mut stop: tokio::sync::oneshot::Receiver<()>) {
    let mut times = Vec::new();
    while stop.try_recv().is_err() {
        let start = Instant::now();
        assert!(jobs.get(id).await.unwrap().is_some());
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "a poll meanwhile: median {:?}, p95 {:?}, p99 {:?}, worst {:?} ({} polls)",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        times.len()
    );
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        Embedded::open(folder.path(), Options { queue_limit: usize::MAX, ..Options::default() }).unwrap();
    let (jobs, blobs): (Arc<dyn JobStore>, Arc<dyn BlobStore>) = (store.clone(), store);
    let polled = jobs.submit(new_job(vec![])).await.unwrap().id;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let poller = tokio::spawn(poll(jobs.clone(), polled, stopped));

    for (callers, count) in [(1, 200), (32, 3200)] {
        let jobs = jobs.clone();
        rate("submit", callers, count, move || {
            let jobs = jobs.clone();
            async move { drop(jobs.submit(new_job(vec![])).await.unwrap()) }
        })
        .await;
    }
    for (callers, count) in [(1, 50), (32, 640)] {
        let (jobs, blobs) = (jobs.clone(), blobs.clone());
        rate("put 100 kB, submit, claim, complete", callers, count, move || {
            let (jobs, blobs) = (jobs.clone(), blobs.clone());
            async move {
                let key = BlobKey::random("png");
                blobs.put(&key, vec![0; 100_000].into()).await.unwrap();
                jobs.submit(new_job(vec![key])).await.unwrap();
                let claim = jobs.claim("bench", LEASE).await.unwrap().unwrap();
                jobs.complete(&claim.token, json!({ "seed": 7 }), vec![]).await.unwrap();
            }
        })
        .await;
    }
    stop.send(()).unwrap();
    poller.await.unwrap();
    drop(jobs);
    drop(blobs);
    let start = Instant::now();
    let store = Embedded::open(folder.path(), Options::default()).unwrap();
    println!("opening with {:?}: {:?}", store.counts().await.unwrap(), start.elapsed());
}
