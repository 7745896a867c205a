//! The process that is killed: two submitters, two workers, a canceller and a sweeper on one store. Before and after
//! each call it says what it is about to do and what it was promised, a line each, written at once.

use std::{io::Write as _, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use jobs::{BlobKey, BlobStore, CancelOutcome, Claim, Embedded, Error, Failure, JobStore, NewJob, Options};
use rand::RngExt as _;
use serde_json::json;
use uuid::Uuid;

/// How long results live: long against a round, short against a run.
pub(crate) const TTL: Duration = Duration::from_secs(3);
/// What failing jobs fail with.
pub(crate) const REASON: &str = "it is one of seven";
const LEASE: Duration = Duration::from_secs(60);

pub(crate) fn options() -> Options {
    Options { queue_limit: 40, result_ttl: TTL, unclaimed_ttl: Some(TTL), ..Options::default() }
}

/// The input file of a job: up to 40 kB that follow from its id.
pub(crate) fn input_of(id: Uuid) -> Vec<u8> {
    let (mut state, length) = (id.as_u64_pair().0 | 1, id.as_u64_pair().1 % 40_000);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// The output file that a worker makes of it.
pub(crate) fn output_of(id: Uuid) -> Vec<u8> {
    input_of(id).iter().rev().map(|byte| byte ^ 0x55).collect()
}

fn say(letter: &str, id: impl std::fmt::Display) {
    // One write to the pipe: what was said before the kill arrives, whole.
    std::io::stdout().write_all(format!("{letter} {id}\n").as_bytes()).unwrap();
}

#[derive(Clone)]
struct Victim {
    jobs: Arc<dyn JobStore>,
    blobs: Arc<dyn BlobStore>,
}

/// Lives until it is killed.
pub(crate) fn live(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(directory, options()).unwrap();
        let victim = Victim { jobs: store.clone(), blobs: store };
        std::io::stdout().write_all(b"\nready\n").unwrap();
        let tasks = [
            tokio::spawn(victim.clone().submit()),
            tokio::spawn(victim.clone().submit()),
            tokio::spawn(victim.clone().work()),
            tokio::spawn(victim.clone().work()),
            tokio::spawn(victim.sweep()),
        ];
        for task in tasks {
            task.await.unwrap();
        }
    });
}

impl Victim {
    async fn submit(self) {
        loop {
            let (id, input) = (Uuid::new_v4(), BlobKey::random("png"));
            say("try", id);
            self.blobs.put(&input, input_of(id).into()).await.unwrap();
            let new = NewJob {
                id,
                owner: "open".into(),
                payload: json!({ "id": id }),
                inputs: vec![input.clone()],
                ..NewJob::default()
            };
            match self.jobs.submit(new).await {
                Ok(_) => say("accepted", id),
                Err(Error::QueueFull { .. }) => {
                    self.blobs.delete(&input).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => say("wrong", error),
            }
            if id.as_u128() % 13 == 0 {
                say("cancelling", id);
                if self.jobs.cancel(id).await.unwrap() == CancelOutcome::Cancelled {
                    say("failed", id);
                }
            }
        }
    }

    async fn work(self) {
        loop {
            self.jobs.work_ready().await;
            if let Some(claim) = self.jobs.claim("victim", LEASE).await.unwrap() {
                say("begun", claim.job.id);
                self.run(claim).await;
            }
        }
    }

    async fn run(&self, claim: Claim) {
        let (id, token) = (claim.job.id, &claim.token);
        let input = self.blobs.get(&claim.job.inputs[0]).await.unwrap();
        if input.as_deref() != Some(&input_of(id)) {
            say("wrong", format_args!("the input of {id}"));
        }
        let ms = rand::rng().random_range(0..15);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.jobs.heartbeat(token, LEASE, 0.5).await.unwrap();
        if id.as_u128() % 7 == 0 {
            self.jobs.fail(token, Failure::server(REASON)).await.unwrap();
            return say("failed", id);
        }
        if ms == 1 {
            say("releasing", id);
            self.jobs.release(token).await.unwrap();
            return say("released", id);
        }
        let (output, bytes) = (BlobKey::random("webp"), Bytes::from(output_of(id)));
        let result = json!({ "length": bytes.len() });
        self.blobs.put(&output, bytes).await.unwrap();
        self.jobs.complete(token, result, vec![output]).await.unwrap();
        say("completed", id);
    }

    async fn sweep(self) {
        loop {
            self.jobs.sweep().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
