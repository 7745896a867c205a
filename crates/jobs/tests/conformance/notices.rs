//! The ends of jobs that are to be told.

use jobs::{Failure, Notice, Try, Webhook};
use serde_json::json;

use super::*;

/// For how long a notice is a node's.
const TAKEN: Duration = Duration::from_secs(1);

async fn wanting(home: &dyn Home, lane: &str) -> NewJob {
    let webhook =
        Webhook { url: format!("https://{lane}/told"), lane: lane.into(), base: "http://own".into() };
    NewJob { webhook: Some(webhook), ..new_job(home, lane).await }
}

/// Submits such a job and runs it to its end.
async fn over(home: &dyn Home, lane: &str) -> Uuid {
    let id = home.jobs().submit(wanting(home, lane).await).await.unwrap().id;
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    home.jobs().complete(&claim.token, json!({ "lane": lane }), vec![]).await.unwrap();
    home.pass(Duration::from_millis(1)).await;
    id
}

async fn due(home: &dyn Home, busy: &[&str], each: usize) -> Vec<Arc<Notice>> {
    let busy: Vec<String> = busy.iter().map(|lane| (*lane).to_owned()).collect();
    let mut taken = home.jobs().take_notices(&busy, each, 100, TAKEN).await.unwrap();
    taken.sort_by_key(|notice| notice.job.finished_at);
    taken
}

fn attempt(home: &dyn Home, taken: bool) -> Try {
    Try { at: home.jobs().now(), taken, outcome: if taken { "HTTP 200" } else { "no connection" }.into() }
}

pub(crate) async fn every_end_leaves_one(home: &dyn Home) {
    assert_eq!(due(home, &[], 9).await, vec![]);
    let completed = over(home, "a:1").await;
    let waiting = home.jobs().submit(wanting(home, "b:1").await).await.unwrap().id;
    home.jobs().cancel(waiting).await.unwrap();
    let refused = home.jobs().submit(wanting(home, "c:1").await).await.unwrap().id;
    home.jobs().refuse(refused, Failure::client("no")).await.unwrap();
    submitted(home, "wants none").await;
    let taken = due(home, &[], 9).await;
    assert_eq!(taken.len(), 3);
    for notice in taken {
        let now = job(home, notice.job.id).await;
        assert_eq!((&notice.job, notice.tries.len()), (&now, 0), "the job as it ended");
        assert!([completed, waiting, refused].contains(&now.id));
    }
}

pub(crate) async fn lanes_are_kept_apart(home: &dyn Home) {
    for lane in ["slow:1", "slow:1", "slow:1", "fast:1"] {
        over(home, lane).await;
    }
    let lanes = |taken: &[Arc<Notice>]| -> Vec<String> {
        taken.iter().map(|notice| notice.job.webhook.clone().unwrap().lane).collect()
    };
    assert_eq!(lanes(&due(home, &["slow:1", "fast:1"], 2).await), Vec::<String>::new());
    assert_eq!(lanes(&due(home, &["fast:1"], 2).await), ["slow:1", "slow:1"]);
    assert_eq!(lanes(&due(home, &["slow:1"], 2).await), ["fast:1"]);
}

pub(crate) async fn tries_are_noted_until_it_is_told(home: &dyn Home) {
    let jobs = home.jobs();
    let id = over(home, "a:1").await;
    assert_eq!(due(home, &[], 1).await.len(), 1);
    jobs.note_try(id, attempt(home, false), Some(Duration::from_secs(10))).await.unwrap();
    assert_eq!(due(home, &[], 1).await, vec![], "its time has not come");
    let notice = jobs.notice(id).await.unwrap().unwrap();
    let wait = notice.next_at.unwrap() - notice.job.finished_at.unwrap();
    assert!((10_000..12_000).contains(&wait), "{wait}");
    assert_eq!((notice.tries.len(), notice.is_delivered()), (1, false));
    home.pass(Duration::from_secs(11)).await;
    jobs.sweep().await.unwrap();
    assert_eq!(jobs.get(id).await.unwrap(), None, "the job has gone");
    let taken = due(home, &[], 1).await;
    assert_eq!(taken[0].job.result, Some(json!({ "lane": "a:1" })), "and is told all the same");
    jobs.note_try(id, attempt(home, true), None).await.unwrap();
    assert_eq!(jobs.notice(id).await.unwrap(), None, "nobody asks any more");
    home.pass(TAKEN).await;
    assert_eq!(due(home, &[], 1).await, vec![]);
}

pub(crate) async fn what_was_told_stays_as_long_as_its_job(home: &dyn Home) {
    let jobs = home.jobs();
    let id = over(home, "a:1").await;
    due(home, &[], 1).await;
    jobs.note_try(id, attempt(home, true), None).await.unwrap();
    assert!(jobs.notice(id).await.unwrap().unwrap().is_delivered());
    home.pass(TTL).await;
    jobs.sweep().await.unwrap();
    assert_eq!(jobs.notice(id).await.unwrap(), None);
    let deleted = over(home, "a:1").await;
    assert!(jobs.delete(deleted).await.unwrap());
    assert_eq!(jobs.notice(deleted).await.unwrap(), None);
    assert_eq!(due(home, &[], 1).await, vec![], "what is deleted is not told");
    jobs.note_try(deleted, attempt(home, true), None).await.expect("too late, and no matter");
}
