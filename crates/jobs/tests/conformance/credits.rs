//! Credits, which are a part of the job: taken with it, spent by its result, given back by its failure.

use jobs::{Error, Failure};
use serde_json::json;

use super::*;

async fn paid(home: &dyn Home, credits: u64) -> jobs::Result<Arc<Job>> {
    let new = NewJob { credits: Some(credits), ..new_job(home, "paid").await };
    home.jobs().submit(new).await
}

async fn used(home: &dyn Home) -> u64 {
    home.jobs().used("tester").await.unwrap()
}

pub(crate) async fn taken_and_given_back(home: &dyn Home) {
    assert_eq!(used(home).await, 0);
    let job = paid(home, 3).await.unwrap();
    assert_eq!((job.charged, used(home).await), (true, 1));
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    home.jobs().release(&claim.token).await.unwrap();
    assert_eq!(used(home).await, 1, "it still waits");
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    assert_eq!(used(home).await, 1, "spent");
    home.jobs().delete(job.id).await.unwrap();
    home.pass(TTL).await;
    home.jobs().sweep().await.unwrap();
    assert_eq!(used(home).await, 1, "for ever");
    submitted(home, "free").await;
    assert_eq!(used(home).await, 1);
}

pub(crate) async fn every_way_of_failing_gives_back(home: &dyn Home) {
    let claim = async || home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    paid(home, 1).await.unwrap();
    home.jobs().fail(&claim().await.token, Failure::server("no")).await.unwrap();
    assert_eq!(used(home).await, 0, "failed");

    let waiting = paid(home, 1).await.unwrap();
    home.jobs().cancel(waiting.id).await.unwrap();
    assert_eq!(used(home).await, 0, "cancelled while it waited");

    let id = paid(home, 1).await.unwrap().id;
    let running = claim().await;
    home.jobs().cancel(id).await.unwrap();
    assert_eq!(used(home).await, 1, "it still runs");
    home.jobs().release(&running.token).await.unwrap();
    assert_eq!(used(home).await, 0, "released when it was to be cancelled");

    let id = paid(home, 1).await.unwrap().id;
    for _ in 0..2 {
        claim().await;
        lapse(home).await;
    }
    assert_eq!((state(home, id).await, used(home).await), (State::Failed, 0), "lost twice");

    let new = NewJob { credits: Some(1), wanting: true, ..new_job(home, "a").await };
    let id = home.jobs().submit(new).await.unwrap().id;
    assert_eq!(used(home).await, 1);
    home.jobs().refuse(id, Failure::client("no such picture")).await.unwrap();
    assert_eq!((state(home, id).await, used(home).await), (State::Failed, 0));
}

pub(crate) async fn nobody_takes_more(home: &dyn Home) {
    let credits = 3;
    let mut tasks = Vec::new();
    for _ in 0..LIMIT {
        let (jobs, new) = (home.jobs(), new_job(home, "paid").await);
        let new = NewJob { credits: Some(credits), ..new };
        tasks.push(tokio::spawn(async move { jobs.submit(new).await }));
    }
    let (mut taken, mut refused) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => taken += 1,
            Err(Error::Exhausted { owner }) if owner == "tester" => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((taken, refused), (credits, LIMIT as u64 - credits));
    assert_eq!(used(home).await, credits);
    let other = NewJob { owner: "other".into(), credits: Some(1), ..new_job(home, "a").await };
    home.jobs().submit(other).await.expect("credits are each owner's own");
}
