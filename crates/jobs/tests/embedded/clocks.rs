//! Time: what expires when, with clocks that jump and processes that end in between.

use std::time::Duration;

use jobs::State;
use serde_json::json;

use crate::{
    Fixture,
    conformance::{self, Home as _, TTL, claimed, completed, contents, job, stored, submitted},
    fixture, wall,
};

#[tokio::test]
async fn an_hour_counts_over_restarts_and_leaves_no_file() {
    let mut home = fixture().await;
    let done = completed(&home, "a").await;
    let orphan = stored(&home, b"b").await;
    home.pass(TTL / 2).await;
    home.restart();
    assert_eq!(job(&home, done.id).await, done);
    assert!(contents(&home, &orphan).await.is_some());
    home.pass(TTL).await;
    home.restart();
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    home.jobs().sweep().await.unwrap();
    assert_eq!(home.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_clock_set_back_revives_nothing() {
    let mut home = fixture().await;
    let begin = wall();
    let done = completed(&home, "a").await;
    home.pass(TTL).await;
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    home.clock.set_wall(begin - 3_600_000);
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    home.restart();
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None, "nor after a restart");
    assert_eq!(home.jobs().by_output(&done.outputs[0]).await.unwrap(), None);

    let late = completed(&home, "b").await;
    assert_eq!(late.total_time(), Some(Duration::ZERO), "no span is negative or huge");
    home.pass(TTL - Duration::from_millis(1)).await;
    assert_eq!(job(&home, late.id).await, late, "what ends meanwhile has its full time");
    home.pass(Duration::from_millis(1)).await;
    assert_eq!(home.jobs().get(late.id).await.unwrap(), None, "and not more");
}

#[tokio::test]
async fn a_clock_set_back_before_a_restart_prolongs_nothing() {
    let mut home = fixture().await;
    let done = completed(&home, "a").await;
    home.pass(TTL / 2).await;
    submitted(&home, "so that something is written, and with it the time").await;
    home.clock.set_wall(wall() - 3_600_000);
    home.restart();
    home.pass(TTL / 2 - Duration::from_millis(1)).await;
    assert_eq!(job(&home, done.id).await, done);
    home.pass(Duration::from_millis(1)).await;
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
}

/// A machine that is resumed, an NTP server that is wrong for a moment: nothing ages by that.
#[tokio::test]
async fn a_clock_set_forward_ages_nothing() {
    let home = fixture().await;
    let (done, orphan) = (completed(&home, "done").await, stored(&home, b"an upload").await);
    let claim = claimed(&home, "a").await;
    home.clock.set_wall(wall() + 86_400_000);
    home.jobs().sweep().await.unwrap();
    assert_eq!(job(&home, done.id).await, done);
    assert_eq!(contents(&home, &done.outputs[0]).await.unwrap(), "done");
    assert!(contents(&home, &orphan).await.is_some());
    home.pass(TTL).await;
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None, "its time is what has passed");
    assert_eq!(state_of(&home, &claim).await, State::Processing);
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
}

async fn state_of(home: &Fixture, claim: &jobs::Claim) -> State {
    conformance::state(home, claim.job.id).await
}
