//! Leases: how a worker keeps its job, and what becomes of the job when it does not.

use std::time::Duration;

use jobs::{Beat, CANCELLED, CancelOutcome, Error, Failure, INTERRUPTED, State};
use serde_json::json;

use super::*;

/// All of the process stood still for longer than a lease, and the sweep comes before the worker's beat.
pub(crate) async fn a_late_sweep_takes_nothing(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    for _ in 0..3 {
        home.pass(LEASE * 4).await;
        home.jobs().sweep().await.unwrap();
        assert_eq!(home.jobs().heartbeat(&claim.token, LEASE, 0.5).await.unwrap(), Beat::Continue);
        home.pass(Duration::from_secs(1)).await;
        home.jobs().sweep().await.unwrap();
    }
    assert_eq!(job(home, claim.job.id).await.retry_count, 0);
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
}

pub(crate) async fn heartbeats_hold(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    for _ in 0..4 {
        home.pass(LEASE / 2).await;
        assert_eq!(home.jobs().heartbeat(&claim.token, LEASE, 0.5).await.unwrap(), Beat::Continue);
        home.jobs().sweep().await.unwrap();
    }
    assert_eq!(job(home, claim.job.id).await, claim.job, "still in the same hands");
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
}

pub(crate) async fn lapsing_once_and_twice(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    let behind = submitted(home, "b").await;
    lapse(home).await;
    let back = job(home, claim.job.id).await;
    assert_eq!((back.state, back.retry_count, back.started_at), (State::Queued, 1, None));
    assert_eq!(contents(home, &back.inputs[0]).await.unwrap(), "a", "its input is kept for the second run");
    assert_eq!(home.jobs().position(back.id).await.unwrap(), Some(0), "it was first and is first again");
    assert_eq!(home.jobs().position(behind.id).await.unwrap(), Some(1));

    let again = home.jobs().claim("another", LEASE).await.unwrap().unwrap();
    assert_eq!((again.job.id, again.job.retry_count), (back.id, 1));
    assert_ne!(again.token, claim.token);
    lapse(home).await;
    let failed = job(home, claim.job.id).await;
    assert_eq!((failed.state, failed.error()), (State::Failed, Some(INTERRUPTED)));
    assert_eq!(state(home, behind.id).await, State::Queued);
}

pub(crate) async fn late_worker_is_refused(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    lapse(home).await;
    let (jobs, late) = (home.jobs(), &claim.token);
    let refuse = async || {
        assert_eq!(jobs.heartbeat(late, LEASE, 0.9).await.unwrap(), Beat::Lost);
        assert!(matches!(jobs.complete(late, json!(0), vec![]).await, Err(Error::LeaseLost { .. })));
        assert!(matches!(jobs.fail(late, Failure::server("late")).await, Err(Error::LeaseLost { .. })));
        assert!(matches!(jobs.release(late).await, Err(Error::LeaseLost { .. })));
    };
    refuse().await;
    let again = jobs.claim("another", LEASE).await.unwrap().unwrap();
    refuse().await;
    jobs.complete(&again.token, json!("mine"), vec![]).await.unwrap();
    refuse().await;
    assert_eq!(job(home, again.job.id).await.result, Some(json!("mine")));
}

pub(crate) async fn releasing(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    let behind = submitted(home, "b").await;
    home.jobs().release(&claim.token).await.unwrap();
    let back = job(home, claim.job.id).await;
    assert_eq!((back.state, back.retry_count, back.started_at), (State::Queued, 0, None));
    assert_eq!(home.jobs().position(behind.id).await.unwrap(), Some(1), "the released one is first again");
    assert_eq!(home.jobs().heartbeat(&claim.token, LEASE, 0.5).await.unwrap(), Beat::Lost);
    let again = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!(again.job.id, claim.job.id);
}

pub(crate) async fn releasing_cancelled(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    assert_eq!(home.jobs().cancel(claim.job.id).await.unwrap(), CancelOutcome::Requested);
    home.jobs().release(&claim.token).await.unwrap();
    let over = job(home, claim.job.id).await;
    assert_eq!((over.state, over.error()), (State::Failed, Some(CANCELLED)));
}

pub(crate) async fn lapsing_cancelled(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    home.jobs().cancel(claim.job.id).await.unwrap();
    lapse(home).await;
    let over = job(home, claim.job.id).await;
    assert_eq!((over.state, over.error()), (State::Failed, Some(CANCELLED)), "it is not run again");
}

pub(crate) async fn progress_is_told(home: &dyn Home) {
    let waiting = submitted(home, "a").await;
    assert_eq!(home.jobs().progress(waiting.id).await.unwrap(), None);
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!(home.jobs().progress(waiting.id).await.unwrap(), Some(0.0));
    for (said, told) in [(0.25, 0.25), (0.5, 0.5), (7.0, 1.0), (-1.0, 0.0), (f32::NAN, 0.0)] {
        home.jobs().heartbeat(&claim.token, LEASE, said).await.unwrap();
        assert_eq!(home.jobs().progress(waiting.id).await.unwrap(), Some(told));
    }
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    assert_eq!(home.jobs().progress(waiting.id).await.unwrap(), None);
}

pub(crate) async fn dropped_claims_come_back(home: &dyn Home) {
    let id = submitted(home, "a").await.id;
    let jobs = home.jobs();
    for microseconds in (0..2000).step_by(100) {
        // Sometimes in time, mostly not: either way the job must not be lost in between.
        let claim =
            tokio::time::timeout(Duration::from_micros(microseconds), jobs.claim("hasty", LEASE)).await;
        if let Ok(claim) = claim
            && let Some(claim) = claim.unwrap()
        {
            jobs.release(&claim.token).await.unwrap();
        }
    }
    tokio::time::timeout(Duration::from_secs(10), jobs.work_ready()).await.expect("it waits again");
    let claim = jobs.claim("patient", LEASE).await.unwrap().unwrap();
    assert_eq!((claim.job.id, claim.job.retry_count), (id, 0));
    assert_eq!(jobs.heartbeat(&claim.token, LEASE, 0.0).await.unwrap(), Beat::Continue);
}
