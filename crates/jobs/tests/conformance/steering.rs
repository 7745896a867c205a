//! Submissions that come twice, lists, waiting for a change, and deleting what runs.

use jobs::{Beat, CancelOutcome, Error, Failure, Idempotency, Listing, Place, State};
use serde_json::json;
use tokio::time::timeout;

use super::*;

/// Longer than any wake-up may take, on a busy machine too.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to see that nothing happens.
const WHILE: Duration = Duration::from_millis(60);

async fn named(home: &dyn Home, client: &str, key: &str, digest: &str) -> NewJob {
    let idempotency = Some(Idempotency { key: key.into(), digest: digest.into() });
    NewJob { client: client.into(), idempotency, ..new_job(home, digest).await }
}

fn listing(client: &str) -> Listing {
    let (owner, client) = ("tester".into(), client.into());
    Listing { owner, client, state: None, after: None, limit: 100 }
}

async fn ids(home: &dyn Home, listing: &Listing) -> Vec<Uuid> {
    home.jobs().list(listing).await.unwrap().iter().map(|job| job.id).collect()
}

pub(crate) async fn the_same_key_makes_one_job(home: &dyn Home) {
    let jobs = home.jobs();
    let first = jobs.submit(named(home, "a", "k", "x").await).await.unwrap();
    let again = jobs.submit(named(home, "a", "k", "x").await).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(jobs.by_idempotency_key("a", "k").await.unwrap(), Some(first.clone()));
    let other = jobs.submit(named(home, "a", "k", "y").await).await;
    assert!(matches!(other, Err(Error::KeyReused { id }) if id == first.id), "{other:?}");
    let neighbour = jobs.submit(named(home, "b", "k", "y").await).await.unwrap();
    assert_ne!(neighbour.id, first.id, "each client has its own keys");
    let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
    jobs.fail(&claim.token, Failure::server("no")).await.unwrap();
    let over = jobs.submit(named(home, "a", "k", "x").await).await.unwrap();
    assert_eq!((over.id, over.state), (first.id, State::Failed), "whatever has become of it");
    home.pass(TTL).await;
    assert_eq!(jobs.by_idempotency_key("a", "k").await.unwrap(), None);
    let new = jobs.submit(named(home, "a", "k", "y").await).await.expect("it is forgotten with its job");
    jobs.sweep().await.unwrap();
    assert_eq!(jobs.by_idempotency_key("a", "k").await.unwrap(), Some(new), "the old one's end is no matter");
}

pub(crate) async fn at_the_same_time_one_job_too(home: &dyn Home) {
    let mut calls = Vec::new();
    for _ in 0..2 * LIMIT {
        let (jobs, new) = (home.jobs(), named(home, "a", "k", "x").await);
        calls.push(tokio::spawn(async move { jobs.submit(new).await.unwrap().id }));
    }
    let mut made = std::collections::HashSet::new();
    for call in calls {
        made.insert(call.await.unwrap());
    }
    assert_eq!((made.len(), home.jobs().counts().await.unwrap().queued), (1, 1));
}

pub(crate) async fn lists_have_pages(home: &dyn Home) {
    let mut submitted = Vec::new();
    for n in 0..LIMIT {
        let new = NewJob { client: "a".into(), ..new_job(home, &n.to_string()).await };
        submitted.push(home.jobs().submit(new).await.unwrap().id);
        // Two at each moment.
        home.pass(Duration::from_millis(n as u64 % 2)).await;
    }
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    let stranger = NewJob { client: "b".into(), ..new_job(home, "b").await };
    let outputs = stranger.inputs.clone();
    home.jobs().deposit(stranger, json!("kept"), outputs).await.unwrap();
    let all = ids(home, &listing("a")).await;
    assert_eq!(all.len(), LIMIT);
    assert_eq!(ids(home, &listing("b")).await, Vec::<Uuid>::new(), "a deposit is no job");
    assert_eq!(ids(home, &Listing { owner: "other".into(), ..listing("a") }).await, Vec::<Uuid>::new());
    let moments: Vec<u64> =
        home.jobs().list(&listing("a")).await.unwrap().iter().map(|job| job.submitted_at).collect();
    assert!(moments.is_sorted_by(|a, b| a >= b), "newest first");
    let (mut pages, mut after): (Vec<Uuid>, Option<Place>) = (Vec::new(), None);
    for _ in 0..=LIMIT {
        let page = home.jobs().list(&Listing { after, limit: 3, ..listing("a") }).await.unwrap();
        let Some(last) = page.last() else { break };
        (after, _) = (Some(last.place()), assert!(page.len() <= 3));
        pages.extend(page.iter().map(|job| job.id));
    }
    assert_eq!(pages, all, "nothing twice, nothing left out");
    let running = Listing { state: Some(State::Processing), ..listing("a") };
    assert_eq!(ids(home, &running).await, [claim.job.id]);
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    assert_eq!(ids(home, &running).await, Vec::<Uuid>::new());
    home.pass(TTL).await;
    assert_eq!(ids(home, &listing("a")).await.len(), LIMIT - 1, "what is expired is in no list");
}

pub(crate) async fn runs_are_measured(home: &dyn Home) {
    assert_eq!(home.jobs().recent_runs(9).await.unwrap(), Vec::<Duration>::new());
    for milliseconds in [100, 300, 200] {
        let claim = claimed(home, "a").await;
        home.pass(Duration::from_millis(milliseconds)).await;
        home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    }
    let claim = claimed(home, "b").await;
    home.pass(Duration::from_millis(700)).await;
    home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
    assert_eq!(home.jobs().recent_runs(2).await.unwrap(), [200, 300].map(Duration::from_millis));
}

pub(crate) async fn waiting_for_a_change(home: &dyn Home) {
    let jobs = home.jobs();
    let wait = |id, seen| {
        let jobs = home.jobs();
        tokio::spawn(async move { jobs.wait_change(id, seen).await.unwrap() })
    };
    assert_eq!(jobs.wait_change(Uuid::new_v4(), State::Queued).await.unwrap(), None);
    let waiting = submitted(home, "a").await;
    let begun = wait(waiting.id, State::Queued);
    tokio::time::sleep(WHILE).await;
    assert!(!begun.is_finished());
    let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
    let running = timeout(SOON, begun).await.expect("the beginning wakes").unwrap().unwrap();
    assert_eq!((running.id, running.state), (waiting.id, State::Processing));
    let back = wait(waiting.id, State::Processing);
    tokio::time::sleep(WHILE).await;
    jobs.release(&claim.token).await.unwrap();
    assert_eq!(timeout(SOON, back).await.unwrap().unwrap().unwrap().state, State::Queued);
    let gone = wait(waiting.id, State::Queued);
    tokio::time::sleep(WHILE).await;
    assert!(jobs.delete(waiting.id).await.unwrap());
    assert_eq!(timeout(SOON, gone).await.expect("that it is gone wakes").unwrap(), None);
}

pub(crate) async fn deleting_what_runs(home: &dyn Home) {
    let jobs = home.jobs();
    for completes in [false, true] {
        let new = NewJob { credits: Some(5), ..named(home, "a", "k", "x").await };
        let id = jobs.submit(new).await.unwrap().id;
        let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
        let output = stored(home, b"late").await;
        assert!(jobs.delete(id).await.unwrap());
        assert_eq!(jobs.get(id).await.unwrap(), None, "at once");
        assert_eq!(ids(home, &listing("a")).await, Vec::<Uuid>::new());
        assert_eq!(jobs.by_idempotency_key("a", "k").await.unwrap(), None);
        assert_eq!(jobs.cancel(id).await.unwrap(), CancelOutcome::Unknown);
        assert!(!jobs.delete(id).await.unwrap());
        assert_eq!(jobs.counts().await.unwrap().processing, 0);
        assert_eq!(jobs.heartbeat(&claim.token, LEASE, 0.5).await.unwrap(), Beat::Cancel);
        if completes {
            jobs.complete(&claim.token, json!(1), vec![output.clone()]).await.unwrap();
            assert_eq!(jobs.by_output(&output).await.unwrap(), None);
        } else {
            jobs.fail(&claim.token, Failure::cancelled()).await.unwrap();
            home.blobs().delete(&output).await.unwrap();
        }
        assert_eq!(jobs.get(id).await.unwrap(), None);
        jobs.sweep().await.unwrap();
        assert_eq!(contents(home, &output).await, None);
        assert_eq!(contents(home, &claim.job.inputs[0]).await, None);
        assert_eq!(
            jobs.used("tester").await.unwrap(),
            u64::from(completes),
            "what was not cancelled in time is paid"
        );
    }
    let claim = claimed(home, "b").await;
    assert!(jobs.delete(claim.job.id).await.unwrap());
    lapse(home).await;
    assert_eq!(jobs.counts().await.unwrap(), jobs::Counts::default(), "nor does it come back");
    assert_eq!(jobs.claim("worker", LEASE).await.unwrap(), None);
}
