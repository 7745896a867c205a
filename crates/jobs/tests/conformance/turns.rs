//! Whose turn it is, and what waits for its inputs.

use jobs::{CANCELLED, CancelOutcome, Error, Failure, State};
use serde_json::json;
use uuid::Uuid;

use super::*;

/// A job of a client's.
async fn of(home: &dyn Home, client: &str) -> Uuid {
    let new = NewJob { client: client.into(), ..new_job(home, client).await };
    home.jobs().submit(new).await.unwrap().id
}

/// Runs the next job to its end and says whose it was.
async fn next(home: &dyn Home) -> (String, Uuid) {
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().expect("something waits");
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    (claim.job.client.clone(), claim.job.id)
}

pub(crate) async fn clients_take_turns(home: &dyn Home) {
    let mut flood = Vec::new();
    for _ in 0..5 {
        flood.push(of(home, "flood").await);
    }
    assert_eq!(next(home).await, ("flood".into(), flood[0]));
    let (quiet, late) = (of(home, "quiet").await, of(home, "quiet").await);
    assert_eq!(next(home).await, ("quiet".into(), quiet), "who was not served yet comes first");
    let other = of(home, "other").await;
    assert_eq!(next(home).await, ("other".into(), other));
    for expected in [flood[1], late, flood[2], flood[3], flood[4]] {
        assert_eq!(next(home).await.1, expected, "in turn, and each in its own order");
    }
}

/// Priorities come before turns, and tell in the places.
pub(crate) async fn who_has_priority_comes_first(home: &dyn Home) {
    let mut ids = Vec::new();
    for (client, priority) in [("a", 0), ("b", -1), ("a", 0), ("c", 5), ("b", 0), ("c", 5), ("d", 5)] {
        let new = NewJob { client: client.into(), priority, ..new_job(home, client).await };
        ids.push(home.jobs().submit(new).await.unwrap().id);
    }
    let mut places = Vec::new();
    for id in &ids {
        places.push(home.jobs().position(*id).await.unwrap().unwrap());
    }
    assert_eq!(home.jobs().waiting_of("b").await.unwrap(), 2, "whatever their priorities");
    let mut order = Vec::new();
    for _ in &ids {
        order.push(next(home).await.1);
    }
    assert_eq!(order, [3, 6, 5, 0, 4, 2, 1].map(|at: usize| ids[at]));
    let came: Vec<usize> = ids.iter().map(|id| order.iter().position(|each| each == id).unwrap()).collect();
    assert_eq!(places, came);
}

/// A job of a client's that costs so much.
async fn costly(home: &dyn Home, client: &str, cost: u64) -> Uuid {
    let new = NewJob { client: client.into(), cost, ..new_job(home, client).await };
    home.jobs().submit(new).await.unwrap().id
}

pub(crate) async fn clients_share_the_work(home: &dyn Home) {
    let large = [costly(home, "large", 100).await, costly(home, "large", 100).await];
    assert_eq!(next(home).await.1, large[0]);
    for _ in 0..2 {
        let small = [costly(home, "small", 20).await, costly(home, "small", 20).await];
        assert_eq!(home.jobs().position(small[1]).await.unwrap(), Some(1));
        assert_eq!(home.jobs().next_up().await.unwrap().unwrap().id, small[0]);
        assert_eq!([next(home).await.1, next(home).await.1], small, "the other had more");
    }
    let (before, after) = (costly(home, "small", 20).await, costly(home, "small", 20).await);
    assert_eq!(home.jobs().position(after).await.unwrap(), Some(2), "by then it has had as much");
    let order = [next(home).await.1, next(home).await.1, next(home).await.1];
    assert_eq!(order, [before, large[1], after]);
}

pub(crate) async fn newcomers_keep_nobody_waiting_for_ever(home: &dyn Home) {
    let large = [costly(home, "large", 1000).await, costly(home, "large", 1000).await];
    assert_eq!(next(home).await.1, large[0]);
    let mut others = 0;
    loop {
        costly(home, &format!("once {others}"), 1000).await;
        let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
        if claim.job.id == large[1] {
            break;
        }
        // Failed ones make room for others.
        home.jobs().fail(&claim.token, Failure::server("never mind")).await.unwrap();
        others += 1;
        assert!(others < 100, "its turn never comes");
    }
    assert!(others > 10, "who is new comes first");
}

pub(crate) async fn small_ones_can_be_asked_for(home: &dyn Home) {
    let ready = async |most| {
        let jobs = home.jobs();
        tokio::time::timeout(Duration::from_millis(300), jobs.work_ready_up_to(most)).await.is_ok()
    };
    let claim = async |most| home.jobs().claim_up_to(most, "worker", LEASE).await.unwrap();
    let large = costly(home, "a", 100).await;
    assert!(!ready(10).await && ready(100).await);
    assert_eq!(claim(10).await, None);
    let behind = costly(home, "a", 5).await;
    assert!(!ready(10).await, "nobody's jobs overtake each other");
    let (small, other) = (costly(home, "b", 5).await, costly(home, "c", 10).await);
    assert!(ready(10).await);
    assert_eq!(claim(10).await.unwrap().job.id, small);
    assert_eq!(claim(10).await.unwrap().job.id, other);
    assert!(!ready(10).await);
    assert_eq!(claim(100).await.unwrap().job.id, large);
    assert_eq!(claim(10).await.unwrap().job.id, behind);
    assert_eq!(home.jobs().next_up().await.unwrap(), None);
}

pub(crate) async fn a_client_has_a_limit_of_its_own(home: &dyn Home) {
    for n in 0..LIMIT {
        submitted(home, &n.to_string()).await;
    }
    let new = NewJob { client: "quiet".into(), ..new_job(home, "quiet").await };
    assert!(matches!(home.jobs().submit(new).await, Err(Error::QueueFull { .. })), "the whole queue is full");
    home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!(home.jobs().waiting_of("tester").await.unwrap(), LIMIT - 1);
    assert_eq!(home.jobs().waiting_of("quiet").await.unwrap(), 0);
}

pub(crate) async fn places_are_told_as_they_come(home: &dyn Home) {
    let mut ids = Vec::new();
    for client in ["a", "a", "a", "b", "c", "b"] {
        ids.push(of(home, client).await);
    }
    let mut places = Vec::new();
    for id in &ids {
        places.push(home.jobs().position(*id).await.unwrap().unwrap());
    }
    let mut order = Vec::new();
    for _ in &ids {
        order.push(next(home).await.1);
    }
    let came: Vec<usize> = ids.iter().map(|id| order.iter().position(|each| each == id).unwrap()).collect();
    assert_eq!(places, came);
}

pub(crate) async fn what_is_wanted_is_waited_for(home: &dyn Home) {
    let mut arrivals = home.jobs().arrivals();
    arrivals.mark_unchanged();
    let new = NewJob { wanting: true, ..new_job(home, "wanting").await };
    let (id, first) = (new.id, new.inputs[0].clone());
    home.jobs().submit(new).await.unwrap();
    assert!(arrivals.has_changed().unwrap());
    assert_eq!(home.jobs().claim("worker", LEASE).await.unwrap(), None);
    let behind = submitted(home, "behind").await;
    assert_eq!(next(home).await.1, behind.id, "the other one goes ahead");
    assert_eq!(home.jobs().position(id).await.unwrap(), Some(0));
    let wanting = home.jobs().wanting().await.unwrap();
    assert_eq!(wanting.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);

    let nowhere = BlobKey::random("png");
    let refused = home.jobs().supply(id, json!(2), vec![nowhere], 1).await;
    assert!(matches!(refused, Err(Error::MissingBlob { .. })), "{refused:?}");
    let second = stored(home, b"fetched").await;
    let inputs = vec![first, second.clone()];
    assert!(home.jobs().supply(id, json!("all"), inputs.clone(), 3).await.unwrap());
    assert!(!home.jobs().supply(id, json!("again"), vec![], 1).await.unwrap());
    assert!(home.jobs().wanting().await.unwrap().is_empty());
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!((&claim.job.payload, &claim.job.inputs, claim.job.cost), (&json!("all"), &inputs, 3));
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    assert_eq!(home.blobs().keys().await.unwrap(), []);

    let new = NewJob { wanting: true, ..new_job(home, "not to be had").await };
    let id = home.jobs().submit(new).await.unwrap().id;
    assert!(home.jobs().refuse(id, Failure::client("HTTP 404")).await.unwrap());
    assert_eq!(job(home, id).await.error(), Some("HTTP 404"));
    assert!(!home.jobs().refuse(id, Failure::client("twice")).await.unwrap());
    let new = NewJob { wanting: true, ..new_job(home, "given up").await };
    let id = home.jobs().submit(new).await.unwrap().id;
    assert_eq!(home.jobs().cancel(id).await.unwrap(), CancelOutcome::Cancelled);
    assert!(!home.jobs().supply(id, json!(1), vec![], 1).await.unwrap());
    assert_eq!(job(home, id).await.error(), Some(CANCELLED));
}

pub(crate) async fn wanting_in_turn(home: &dyn Home) {
    let mut ids = Vec::new();
    for client in ["flood", "flood", "flood", "quiet"] {
        let new = NewJob { wanting: true, client: client.into(), ..new_job(home, client).await };
        ids.push(home.jobs().submit(new).await.unwrap().id);
    }
    let wanting: Vec<Uuid> = home.jobs().wanting().await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(wanting, [ids[0], ids[3], ids[1], ids[2]]);
}

/// Whatever ended the process, it was one of those that ran; alone it can take nobody along.
pub(crate) async fn what_was_interrupted_runs_alone(home: &dyn Home) {
    let suspect = claimed(home, "suspect").await.job.id;
    let innocent = claimed(home, "innocent").await.job.id;
    lapse(home).await;
    let later = submitted(home, "later").await.id;
    let claim = async || home.jobs().claim("worker", LEASE).await.unwrap();
    let first = claim().await.unwrap();
    assert_eq!(first.job.id, suspect);
    assert_eq!(claim().await, None, "nothing beside it");
    home.jobs().fail(&first.token, Failure::server("it did it again")).await.unwrap();
    let second = claim().await.unwrap();
    assert_eq!((second.job.id, second.job.retry_count), (innocent, 1));
    home.jobs().complete(&second.token, json!(1), vec![]).await.unwrap();
    let third = claim().await.unwrap();
    assert_eq!((third.job.id, state(home, innocent).await), (later, State::Completed));
}
