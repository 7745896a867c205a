//! The queue and the ends of jobs.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jobs::{Beat, CANCELLED, CancelOutcome, Counts, Error, Failure, State};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;

pub(crate) async fn first_in_first_out(home: &dyn Home) {
    let jobs = home.jobs();
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        let new = new_job(home, text).await;
        let accepted = jobs.submit(new.clone()).await.unwrap();
        assert_eq!((accepted.id, &accepted.owner, &accepted.payload), (new.id, &new.owner, &new.payload));
        assert_eq!((accepted.state, accepted.retry_count), (State::Queued, 0));
        assert_eq!(accepted.inputs, new.inputs);
        assert_eq!(job(home, new.id).await, accepted, "what is kept is what was answered");
        ids.push(new.id);
    }
    for (place, id) in ids.iter().enumerate() {
        assert_eq!(jobs.position(*id).await.unwrap(), Some(place));
    }
    for (round, id) in ids.iter().enumerate() {
        let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
        assert_eq!((claim.job.id, claim.job.state), (*id, State::Processing));
        assert!(claim.job.started_at.is_some() && claim.job.queue_time().is_some());
        assert_eq!(job(home, *id).await, claim.job);
        assert_eq!(jobs.position(*id).await.unwrap(), None, "it does not wait any more");
        for (place, later) in ids[round + 1..].iter().enumerate() {
            assert_eq!(jobs.position(*later).await.unwrap(), Some(place));
        }
    }
    assert_eq!(jobs.claim("worker", LEASE).await.unwrap(), None);
    assert_eq!(jobs.position(Uuid::new_v4()).await.unwrap(), None);
}

pub(crate) async fn full_queue(home: &dyn Home) {
    for n in 0..LIMIT {
        submitted(home, &n.to_string()).await;
    }
    let one_more = new_job(home, "one more").await;
    let refused = home.jobs().submit(one_more.clone()).await;
    assert!(matches!(refused, Err(Error::QueueFull { limit: LIMIT })), "{refused:?}");
    assert_eq!(home.jobs().get(one_more.id).await.unwrap(), None);
    home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    home.jobs().submit(one_more.clone()).await.expect("a running job does not wait");
    assert_eq!(home.jobs().position(one_more.id).await.unwrap(), Some(LIMIT - 1));
}

pub(crate) async fn duplicates(home: &dyn Home) {
    let first = new_job(home, "first").await;
    let kept = home.jobs().submit(first.clone()).await.unwrap();
    let mut second = new_job(home, "second").await;
    second.id = first.id;
    assert!(matches!(home.jobs().submit(second).await, Err(Error::Duplicate { id }) if id == first.id));
    assert_eq!(job(home, first.id).await, kept);
}

pub(crate) async fn missing_files(home: &dyn Home) {
    let mut new = new_job(home, "a").await;
    let nowhere = BlobKey::random("png");
    new.inputs.push(nowhere.clone());
    let refused = home.jobs().submit(new.clone()).await;
    assert!(matches!(&refused, Err(Error::MissingBlob { key }) if *key == nowhere), "{refused:?}");
    assert_eq!(home.jobs().get(new.id).await.unwrap(), None);

    let claim = claimed(home, "b").await;
    let refused = home.jobs().complete(&claim.token, json!({}), vec![nowhere.clone()]).await;
    assert!(matches!(&refused, Err(Error::MissingBlob { key }) if *key == nowhere), "{refused:?}");
    assert_eq!(state(home, claim.job.id).await, State::Processing);
    home.jobs().complete(&claim.token, json!({}), vec![]).await.expect("the worker may try again");
}

pub(crate) async fn completing(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    home.pass(Duration::from_millis(250)).await;
    let outputs = vec![stored(home, b"one").await, stored(home, b"two").await];
    home.jobs().complete(&claim.token, json!({ "seed": 7 }), outputs.clone()).await.unwrap();
    let done = job(home, claim.job.id).await;
    assert_eq!(done.state, State::Completed);
    assert_eq!(done.result, Some(json!({ "seed": 7 })));
    assert_eq!(done.outputs, outputs);
    assert_eq!((done.error(), done.retry_count), (None, 0));
    assert_eq!(done.expires_at, Some(done.finished_at.unwrap() + TTL.as_millis() as u64));
    assert!(done.inference_time().unwrap() >= Duration::from_millis(250));
    assert!(done.total_time().unwrap() >= done.inference_time().unwrap());
    for (key, bytes) in outputs.iter().zip([b"one", b"two"]) {
        assert_eq!(contents(home, key).await.unwrap(), &bytes[..]);
        assert_eq!(home.jobs().by_output(key).await.unwrap(), Some(done.clone()));
    }
    assert_eq!(home.jobs().by_output(&BlobKey::random("png")).await.unwrap(), None);
}

pub(crate) async fn failing(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    home.jobs().fail(&claim.token, Failure::server("it is out of memory")).await.unwrap();
    let failed = job(home, claim.job.id).await;
    assert_eq!((failed.state, failed.error()), (State::Failed, Some("it is out of memory")));
    assert_eq!((&failed.result, failed.retry_count), (&None, 0));
    assert!(failed.finished_at.is_some() && failed.expires_at.is_some());
}

pub(crate) async fn depositing(home: &dyn Home) {
    let mut new = new_job(home, "upload").await;
    let outputs = std::mem::take(&mut new.inputs);
    let kept = home.jobs().deposit(new.clone(), json!("kept"), outputs.clone()).await.unwrap();
    assert_eq!((kept.id, kept.state, &kept.outputs), (new.id, State::Completed, &outputs));
    assert_eq!((kept.result.clone(), kept.total_time()), (Some(json!("kept")), Some(Duration::ZERO)));
    assert_eq!(job(home, new.id).await, kept);
    assert_eq!(home.jobs().by_output(&outputs[0]).await.unwrap(), Some(kept));
    assert_eq!(home.jobs().claim("worker", LEASE).await.unwrap(), None, "there is nothing to do");
    let again = home.jobs().deposit(new.clone(), json!(2), outputs.clone()).await;
    assert!(matches!(again, Err(Error::Duplicate { id }) if id == new.id), "{again:?}");
    let nothing = home.jobs().deposit(new_job(home, "b").await, json!(3), vec![BlobKey::random("png")]).await;
    assert!(matches!(nothing, Err(Error::MissingBlob { .. })), "{nothing:?}");
    home.pass(TTL).await;
    assert_eq!(home.jobs().by_output(&outputs[0]).await.unwrap(), None, "it expires like any other");
    home.jobs().sweep().await.unwrap();
    assert_eq!(contents(home, &outputs[0]).await, None);
}

pub(crate) async fn terminal_is_final(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    let done = job(home, claim.job.id).await;
    let (jobs, token) = (home.jobs(), &claim.token);
    assert!(matches!(jobs.complete(token, json!(2), vec![]).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(jobs.fail(token, Failure::server("late")).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(jobs.release(token).await, Err(Error::LeaseLost { .. })));
    assert_eq!(jobs.heartbeat(token, LEASE, 0.5).await.unwrap(), Beat::Lost);
    assert_eq!(jobs.cancel(done.id).await.unwrap(), CancelOutcome::AlreadyOver);
    home.pass(LEASE).await;
    jobs.sweep().await.unwrap();
    assert_eq!(job(home, done.id).await, done);
}

pub(crate) async fn cancelling_waiting(home: &dyn Home) {
    let first = submitted(home, "first").await;
    let second = submitted(home, "second").await;
    assert_eq!(home.jobs().cancel(first.id).await.unwrap(), CancelOutcome::Cancelled);
    let cancelled = job(home, first.id).await;
    assert_eq!((cancelled.state, cancelled.error()), (State::Failed, Some(CANCELLED)));
    assert_eq!((cancelled.started_at, cancelled.inference_time()), (None, None));
    assert_eq!(contents(home, &first.inputs[0]).await, None, "its input is gone");
    assert_eq!(home.jobs().position(second.id).await.unwrap(), Some(0));
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!(claim.job.id, second.id, "the cancelled one is not run");
}

pub(crate) async fn cancelling_running(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    assert_eq!(home.jobs().heartbeat(&claim.token, LEASE, 0.1).await.unwrap(), Beat::Continue);
    for _ in 0..2 {
        assert_eq!(home.jobs().cancel(claim.job.id).await.unwrap(), CancelOutcome::Requested);
        assert_eq!(state(home, claim.job.id).await, State::Processing);
        assert!(job(home, claim.job.id).await.cancel_requested);
        assert_eq!(home.jobs().heartbeat(&claim.token, LEASE, 0.2).await.unwrap(), Beat::Cancel);
    }
    home.jobs().fail(&claim.token, Failure::cancelled()).await.unwrap();
    assert_eq!(job(home, claim.job.id).await.error(), Some(CANCELLED));
}

pub(crate) async fn cancelling_over(home: &dyn Home) {
    let done = completed(home, "a").await;
    assert_eq!(home.jobs().cancel(done.id).await.unwrap(), CancelOutcome::AlreadyOver);
    assert_eq!(job(home, done.id).await, done);
    assert_eq!(home.jobs().cancel(Uuid::new_v4()).await.unwrap(), CancelOutcome::Unknown);
}

pub(crate) async fn deleting(home: &dyn Home) {
    let done = completed(home, "a").await;
    assert!(home.jobs().delete(done.id).await.unwrap());
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    assert_eq!(home.jobs().by_output(&done.outputs[0]).await.unwrap(), None);
    assert_eq!(contents(home, &done.outputs[0]).await, None);
    assert!(!home.jobs().delete(done.id).await.unwrap());
    assert!(!home.jobs().delete(Uuid::new_v4()).await.unwrap());

    let waiting = submitted(home, "b").await;
    assert!(home.jobs().delete(waiting.id).await.unwrap());
    assert_eq!(home.jobs().get(waiting.id).await.unwrap(), None);
    assert_eq!(contents(home, &waiting.inputs[0]).await, None);
    assert_eq!(home.jobs().claim("worker", LEASE).await.unwrap(), None, "it is not run");
}

pub(crate) async fn counting(home: &dyn Home) {
    assert_eq!(home.jobs().counts().await.unwrap(), Counts::default());
    completed(home, "a").await;
    completed(home, "b").await;
    let claim = claimed(home, "c").await;
    home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
    claimed(home, "d").await;
    for n in 0..3 {
        submitted(home, &n.to_string()).await;
    }
    let counts = home.jobs().counts().await.unwrap();
    assert_eq!(counts, Counts { queued: 3, processing: 1, completed: 2, failed: 1 });
}

pub(crate) async fn the_oldest_waits(home: &dyn Home) {
    assert_eq!(home.jobs().oldest_waiting().await.unwrap(), None);
    let first = submitted(home, "a").await;
    home.pass(Duration::from_secs(1)).await;
    let second = submitted(home, "b").await;
    assert_eq!(home.jobs().oldest_waiting().await.unwrap(), Some(first.submitted_at));
    home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!(home.jobs().oldest_waiting().await.unwrap(), Some(second.submitted_at));
}

/// Longer than any wake-up may take, on a busy machine too.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to see that nothing happens.
const WHILE: Duration = Duration::from_millis(60);

pub(crate) async fn waiting_for_work(home: &dyn Home) {
    let jobs = home.jobs();
    assert!(timeout(WHILE, jobs.work_ready()).await.is_err(), "there is nothing to do");
    let waiter = tokio::spawn({
        let jobs = home.jobs();
        async move { jobs.work_ready().await }
    });
    tokio::time::sleep(WHILE).await;
    submitted(home, "a").await;
    timeout(SOON, waiter).await.expect("a submission wakes").unwrap();
    timeout(SOON, jobs.work_ready()).await.expect("there still is something to do");
    let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
    assert!(timeout(WHILE, jobs.work_ready()).await.is_err(), "it is taken");
    jobs.release(&claim.token).await.unwrap();
    timeout(SOON, jobs.work_ready()).await.expect("it was given back");
}

pub(crate) async fn waiting_for_the_end(home: &dyn Home) {
    let jobs = home.jobs();
    assert_eq!(timeout(SOON, jobs.wait_terminal(Uuid::new_v4())).await.unwrap().unwrap(), None);
    let claim = claimed(home, "a").await;
    let waiting = submitted(home, "b").await;
    let wait = |id| {
        let jobs = home.jobs();
        tokio::spawn(async move { jobs.wait_terminal(id).await })
    };
    let (first, second) = (wait(claim.job.id), wait(waiting.id));
    tokio::time::sleep(WHILE).await;
    assert!(!first.is_finished() && !second.is_finished());
    jobs.complete(&claim.token, json!(1), vec![]).await.unwrap();
    let over = timeout(SOON, first).await.expect("the end wakes").unwrap().unwrap().unwrap();
    assert_eq!((over.id, over.state), (claim.job.id, State::Completed));
    assert!(!second.is_finished());
    jobs.cancel(waiting.id).await.unwrap();
    let over = timeout(SOON, second).await.expect("a cancellation wakes").unwrap().unwrap().unwrap();
    assert_eq!(over.state, State::Failed);
    assert_eq!(jobs.wait_terminal(over.id).await.unwrap(), Some(over), "it is over already");
}

pub(crate) async fn claimers_never_share(home: &dyn Home) {
    for round in 0..4 {
        let mut all = HashSet::new();
        for n in 0..LIMIT {
            all.insert(submitted(home, &format!("{round}-{n}")).await.id);
        }
        let start = Arc::new(tokio::sync::Barrier::new(2 * LIMIT));
        let claimers: Vec<_> = (0..2 * LIMIT)
            .map(|n| {
                let (jobs, start) = (home.jobs(), start.clone());
                tokio::spawn(async move {
                    start.wait().await;
                    jobs.claim(&format!("worker {n}"), LEASE).await.unwrap()
                })
            })
            .collect();
        let mut taken = Vec::new();
        for claimer in claimers {
            taken.extend(claimer.await.unwrap());
        }
        assert_eq!(taken.len(), LIMIT, "each job is taken once");
        assert_eq!(taken.iter().map(|claim| claim.job.id).collect::<HashSet<_>>(), all);
        for claim in taken {
            home.jobs().complete(&claim.token, json!(null), vec![]).await.unwrap();
        }
    }
}
