//! How much is kept of what is over.

use jobs::{Error, Failure};
use serde_json::{Value, json};

use super::*;

/// Submits a job of a client's and runs it to its end.
async fn over(home: &dyn Home, client: &str, result: Option<Value>) -> jobs::Result<Uuid> {
    let new = NewJob { client: client.into(), ..new_job(home, client).await };
    let input = new.inputs[0].clone();
    let id = match home.jobs().submit(new).await {
        Ok(job) => job.id,
        Err(error) => {
            home.blobs().delete(&input).await.unwrap();
            return Err(error);
        }
    };
    let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    match result {
        Some(result) => home.jobs().complete(&claim.token, result, vec![]).await.unwrap(),
        None => home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap(),
    }
    home.pass(Duration::from_millis(1)).await;
    Ok(id)
}

pub(crate) async fn failed_ones_make_room(home: &dyn Home) {
    let mut failed = Vec::new();
    for _ in 0..KEPT_EACH.jobs {
        failed.push(over(home, "flood", None).await.unwrap());
    }
    let quiet = over(home, "quiet", Some(json!(1))).await.unwrap();
    assert!(home.jobs().get(failed[0]).await.unwrap().is_some(), "as many as may be");
    for _ in 0..10 {
        failed.push(over(home, "flood", None).await.unwrap());
    }
    assert!(home.jobs().get(failed[0]).await.unwrap().is_none(), "the oldest have gone");
    assert!(home.jobs().get(*failed.last().unwrap()).await.unwrap().is_some());
    assert!(home.jobs().counts().await.unwrap().failed <= KEPT_EACH.jobs + 1);
    for _ in 0..10 {
        over(home, "another", None).await.unwrap();
    }
    assert!(home.jobs().counts().await.unwrap().failed <= KEPT.jobs + 1, "in all");
    assert_eq!(state(home, quiet).await, State::Completed, "nobody else's");
}

pub(crate) async fn results_are_not_driven_out(home: &dyn Home) {
    let long = json!("x".repeat(30_000));
    let mut kept = Vec::new();
    let refused = loop {
        match over(home, "long", Some(long.clone())).await {
            Ok(id) => kept.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(kept.len(), 4, "100 000 bytes for each");
    let Error::Kept { wait, .. } = refused else { panic!("{refused}") };
    assert!(wait > Duration::ZERO && wait <= TTL, "{wait:?}");
    for id in &kept {
        assert_eq!(state(home, *id).await, State::Completed);
    }
    over(home, "short", Some(json!(1))).await.expect("it is no matter to others");
    home.pass(TTL).await;
    home.jobs().sweep().await.unwrap();
    over(home, "long", Some(long)).await.expect("there is room again");
}

pub(crate) async fn deposits_have_a_limit(home: &dyn Home) {
    let deposit = async |client: &str, files: usize, bytes: usize| {
        let mut keys = Vec::new();
        for _ in 0..files {
            keys.push(stored(home, &vec![1; bytes]).await);
        }
        let new =
            NewJob { id: Uuid::new_v4(), owner: "tester".into(), client: client.into(), ..NewJob::default() };
        home.jobs().deposit(new, json!("kept"), keys).await
    };
    deposit("many", 3, 1).await.unwrap();
    deposit("many", 2, 1).await.unwrap();
    assert!(matches!(deposit("many", 1, 1).await, Err(Error::Kept { .. })));
    deposit("large", 1, 600).await.unwrap();
    assert!(matches!(deposit("large", 1, 600).await, Err(Error::Kept { .. })));
    deposit("large", 1, 400).await.unwrap();
    over(home, "many", Some(json!(1))).await.expect("work is no matter of these limits");
    home.pass(TTL).await;
    home.jobs().sweep().await.unwrap();
    deposit("many", 5, 1).await.unwrap();
}

pub(crate) async fn nothing_of_a_request_stays(home: &dyn Home) {
    for result in [Some(json!(1)), None] {
        let id = over(home, "a", result).await.unwrap();
        let job = job(home, id).await;
        assert_eq!((&job.payload, job.inputs.len(), job.wanting), (&Value::Null, 0, false));
    }
    let waiting = submitted(home, "b").await;
    home.jobs().cancel(waiting.id).await.unwrap();
    assert!(job(home, waiting.id).await.payload.is_null());
}
