//! What every home of jobs must do: one list of cases, each an async function that any [`Home`] can run.
//! A home's test file calls [`conformance!`] with a function that opens a fresh, empty one.

pub(crate) mod credits;
pub(crate) mod files;
pub(crate) mod keeping;
pub(crate) mod leases;
pub(crate) mod notices;
pub(crate) mod queue;
pub(crate) mod retention;
pub(crate) mod steering;
pub(crate) mod turns;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jobs::{BlobKey, BlobStore, Caps, Claim, Job, JobStore, NewJob, State};
use serde_json::json;
use uuid::Uuid;

/// How many jobs may wait in the home under test.
pub(crate) const LIMIT: usize = 8;
/// What may be kept in it in all, and of each client, and how many files of each client's deposits.
pub(crate) const KEPT: Caps = Caps { jobs: 40, documents: 1 << 20, files: 10_000_000 };
pub(crate) const KEPT_EACH: Caps = Caps { jobs: 36, documents: 100_000, files: 5_000_000 };
pub(crate) const DEPOSITS: Caps = Caps { jobs: 5, documents: u64::MAX, files: 1000 };
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
        ..NewJob::default()
    }
}

/// Stores a file under a new key.
pub(crate) async fn stored(home: &dyn Home, bytes: &[u8]) -> BlobKey {
    let key = BlobKey::random("png");
    home.blobs().put(&key, Bytes::copy_from_slice(bytes)).await.unwrap();
    key
}

/// Submits such a job.
pub(crate) async fn submitted(home: &dyn Home, text: &str) -> Arc<Job> {
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
pub(crate) async fn completed(home: &dyn Home, text: &str) -> Arc<Job> {
    let claim = claimed(home, text).await;
    let output = stored(home, text.as_bytes()).await;
    home.jobs().complete(&claim.token, json!({ "said": text }), vec![output]).await.unwrap();
    job(home, claim.job.id).await
}

/// Lets the leases lapse for good: found so by two sweeps, with time for a beat in between.
pub(crate) async fn lapse(home: &dyn Home) {
    home.pass(LEASE).await;
    home.jobs().sweep().await.unwrap();
    home.pass(Duration::from_secs(1)).await;
    home.jobs().sweep().await.unwrap();
}

/// The job, which must be there.
pub(crate) async fn job(home: &dyn Home, id: Uuid) -> Arc<Job> {
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

/// Makes a test of every case, each on a fresh home from `$open` (an async function without arguments), if it has one.
#[macro_export]
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance!(@cases $open;
            queue: first_in_first_out, full_queue, duplicates, missing_files, completing, failing, depositing,
                terminal_is_final,
                cancelling_waiting, cancelling_running, cancelling_over, deleting, counting, the_oldest_waits, waiting_for_work,
                waiting_for_the_end, claimers_never_share;
            turns: clients_take_turns, clients_share_the_work, newcomers_keep_nobody_waiting_for_ever, who_has_priority_comes_first,
                small_ones_can_be_asked_for, a_client_has_a_limit_of_its_own, places_are_told_as_they_come,
                what_is_wanted_is_waited_for, wanting_in_turn, what_was_interrupted_runs_alone;
            credits: taken_and_given_back, every_way_of_failing_gives_back, nobody_takes_more;
            keeping: failed_ones_make_room, results_are_not_driven_out, deposits_have_a_limit, nothing_of_a_request_stays;
            leases: a_late_sweep_takes_nothing, heartbeats_hold, lapsing_once_and_twice, late_worker_is_refused, releasing, releasing_cancelled,
                lapsing_cancelled, progress_is_told, dropped_claims_come_back;
            retention: gone_at_the_very_moment, failed_ones_go_too, reading_changes_nothing, sweeping_leaves_nothing,
                waiting_and_running_never_expire, an_expired_id_is_unknown;
            steering: the_same_key_makes_one_job, at_the_same_time_one_job_too, lists_have_pages, runs_are_measured,
                waiting_for_a_change, deleting_what_runs;
            notices: every_end_leaves_one, lanes_are_kept_apart, tries_are_noted_until_it_is_told,
                what_was_told_stays_as_long_as_its_job;
            files: whole_files, replacing, inputs_go_at_the_end, shared_inputs_stay, orphans_go, results_are_no_orphans;
        );
    };
    (@cases $open:path; $($module:ident: $($case:ident),*;)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(home) = $open().await {
                    conformance::$module::$case(&home).await;
                }
            }
        )*)*
    };
}
