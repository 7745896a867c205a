//! What every home of jobs must do: one list of cases, each an async function that any [`Home`] can run.
//! A home's test file calls [`conformance!`] with a function that opens a fresh, empty one.

pub(crate) mod files;
pub(crate) mod leases;
pub(crate) mod queue;
pub(crate) mod retention;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jobs::{BlobKey, BlobStore, Claim, Job, JobStore, NewJob, State};
use serde_json::json;
use uuid::Uuid;

/// How many jobs may wait in the home under test.
pub(crate) const LIMIT: usize = 8;
/// How long terminal jobs and unnamed files live in it.
pub(crate) const TTL: Duration = Duration::from_secs(4);
/// A lease that does not lapse within a case unless time is made to pass.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// A home under test, opened with [`LIMIT`] and [`TTL`].
#[async_trait]
pub(crate) trait Home: Send + Sync {
    /// Its queue.
    fn jobs(&self) -> Arc<dyn JobStore>;
    /// Its files.
    fn blobs(&self) -> Arc<dyn BlobStore>;
    /// Lets that much time pass, as far as the home can tell.
    async fn pass(&self, span: Duration);
}

/// A job with one stored input that says `text`.
pub(crate) async fn new_job(home: &dyn Home, text: &str) -> NewJob {
    let input = stored(home, text.as_bytes()).await;
    NewJob {
        id: Uuid::new_v4(),
        owner: "tester".into(),
        payload: json!({ "text": text }),
        inputs: vec![input],
    }
}

/// Stores a file under a new key.
pub(crate) async fn stored(home: &dyn Home, bytes: &[u8]) -> BlobKey {
    let key = BlobKey::random("png");
    home.blobs().put(&key, Bytes::copy_from_slice(bytes)).await.unwrap();
    key
}

/// Submits such a job.
pub(crate) async fn submitted(home: &dyn Home, text: &str) -> Job {
    home.jobs().submit(new_job(home, text).await).await.unwrap()
}

/// Submits such a job and claims it (the queue must be empty).
pub(crate) async fn claimed(home: &dyn Home, text: &str) -> Claim {
    let id = submitted(home, text).await.id;
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().expect("something waits");
    assert_eq!(claim.job.id, id);
    claim
}

/// Runs such a job to its end with one output file that says `text`.
pub(crate) async fn completed(home: &dyn Home, text: &str) -> Job {
    let claim = claimed(home, text).await;
    let output = stored(home, text.as_bytes()).await;
    home.jobs().complete(&claim.token, json!({ "said": text }), vec![output]).await.unwrap();
    job(home, claim.job.id).await
}

/// The job, which must be there.
pub(crate) async fn job(home: &dyn Home, id: Uuid) -> Job {
    home.jobs().get(id).await.unwrap().expect("the job is there")
}

/// Its state.
pub(crate) async fn state(home: &dyn Home, id: Uuid) -> State {
    job(home, id).await.state
}

/// The contents of a file.
pub(crate) async fn contents(home: &dyn Home, key: &BlobKey) -> Option<Bytes> {
    home.blobs().get(key).await.unwrap()
}

/// Makes a test of every case, each on a fresh home from `$open` (an async function without arguments).
#[macro_export]
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance!(@cases $open;
            queue: first_in_first_out, full_queue, duplicates, missing_files, completing, failing, depositing,
                terminal_is_final,
                cancelling_waiting, cancelling_running, cancelling_over, deleting, counting, waiting_for_work,
                waiting_for_the_end, claimers_never_share;
            leases: heartbeats_hold, lapsing_once_and_twice, late_worker_is_refused, releasing, releasing_cancelled,
                lapsing_cancelled, progress_is_told, dropped_claims_come_back;
            retention: gone_at_the_very_moment, failed_ones_go_too, reading_changes_nothing, sweeping_leaves_nothing,
                waiting_and_running_never_expire, an_expired_id_is_unknown;
            files: whole_files, replacing, inputs_go_at_the_end, shared_inputs_stay, orphans_go, results_are_no_orphans;
        );
    };
    (@cases $open:path; $($module:ident: $($case:ident),*;)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                conformance::$module::$case(&$open().await).await;
            }
        )*)*
    };
}
