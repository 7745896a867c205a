//! Retention: how long what is over stays, to the millisecond where the home's clock is ours.

use std::time::Duration;

use jobs::{Beat, CancelOutcome, Error, Failure};
use serde_json::json;

use super::*;

/// Within this span of the end, homes with a clock of their own may be late.
const MARGIN: Duration = Duration::from_millis(1);

pub(crate) async fn gone_at_the_very_moment(home: &dyn Home) {
    let done = completed(home, "a").await;
    home.pass(TTL - MARGIN).await;
    assert_eq!(job(home, done.id).await, done);
    assert_eq!(home.jobs().by_output(&done.outputs[0]).await.unwrap(), Some(done.clone()));
    home.pass(MARGIN).await;
    assert_eq!(home.jobs().by_output(&done.outputs[0]).await.unwrap(), None, "without any sweep");
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    assert_eq!(home.jobs().wait_terminal(done.id).await.unwrap(), None);
}

pub(crate) async fn failed_ones_go_too(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    home.pass(TTL * 3).await;
    home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
    home.pass(TTL - MARGIN).await;
    assert_eq!(job(home, claim.job.id).await.error(), Some("no"), "counted from the end, not from before");
    home.pass(MARGIN).await;
    assert_eq!(home.jobs().get(claim.job.id).await.unwrap(), None);
}

pub(crate) async fn reading_changes_nothing(home: &dyn Home) {
    let done = completed(home, "a").await;
    for _ in 0..8 {
        home.pass(TTL / 10).await;
        assert_eq!(job(home, done.id).await, done);
        assert_eq!(contents(home, &done.outputs[0]).await.unwrap(), "a");
    }
    home.pass(TTL / 5).await;
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None, "and does not prolong its life");
}

pub(crate) async fn sweeping_leaves_nothing(home: &dyn Home) {
    let done = completed(home, "a").await;
    let claim = claimed(home, "b").await;
    home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
    home.pass(TTL / 2).await;
    let later = completed(home, "c").await;
    home.pass(TTL / 2).await;
    assert!(home.jobs().sweep().await.unwrap() >= 2);
    assert_eq!(home.blobs().keys().await.unwrap(), later.outputs);
    assert_eq!(contents(home, &done.outputs[0]).await, None);
    assert_eq!(job(home, later.id).await, later);
    home.pass(TTL / 2).await;
    home.jobs().sweep().await.unwrap();
    assert_eq!(home.blobs().keys().await.unwrap(), []);
    assert_eq!(home.jobs().counts().await.unwrap(), jobs::Counts::default());
    assert_eq!(home.jobs().sweep().await.unwrap(), 0, "and then there is nothing to do");
}

pub(crate) async fn waiting_and_running_never_expire(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    let waiting = submitted(home, "b").await;
    for _ in 0..5 {
        assert_eq!(home.jobs().heartbeat(&claim.token, TTL * 2, 0.5).await.unwrap(), Beat::Continue);
        home.pass(TTL).await;
        home.jobs().sweep().await.unwrap();
    }
    assert_eq!(job(home, claim.job.id).await, claim.job);
    assert_eq!(job(home, waiting.id).await, waiting);
    assert_eq!(contents(home, &claim.job.inputs[0]).await.unwrap(), "a");
    assert_eq!(contents(home, &waiting.inputs[0]).await.unwrap(), "b");
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
}

pub(crate) async fn an_expired_id_is_unknown(home: &dyn Home) {
    let done = completed(home, "a").await;
    home.pass(TTL).await;
    assert_eq!(home.jobs().cancel(done.id).await.unwrap(), CancelOutcome::Unknown);
    assert!(!home.jobs().delete(done.id).await.unwrap());
    assert_eq!(home.jobs().progress(done.id).await.unwrap(), None);
    assert_eq!(home.jobs().position(done.id).await.unwrap(), None);
    // Its file went with it, so that a job that names it is refused.
    home.jobs().sweep().await.unwrap();
    let mut new = new_job(home, "b").await;
    new.inputs = done.outputs.clone();
    assert!(matches!(home.jobs().submit(new).await, Err(Error::MissingBlob { .. })));
}
