//! Files, and whose they are.

use serde_json::json;

use jobs::Failure;

use super::*;

pub(crate) async fn whole_files(home: &dyn Home) {
    let (small, large): (&[u8], Vec<u8>) =
        (b"", (0..3_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect());
    let keys = [stored(home, small).await, stored(home, &large).await];
    assert_eq!(contents(home, &keys[0]).await.unwrap(), small);
    assert_eq!(contents(home, &keys[1]).await.unwrap(), large);
    let mut there = home.blobs().keys().await.unwrap();
    there.sort();
    let mut expected = keys.to_vec();
    expected.sort();
    assert_eq!(there, expected);
    assert_eq!(contents(home, &BlobKey::random("png")).await, None);
    home.blobs().delete(&keys[1]).await.unwrap();
    assert_eq!(contents(home, &keys[1]).await, None);
    assert_eq!(home.blobs().keys().await.unwrap(), keys[..1]);
    home.blobs().delete(&keys[1]).await.expect("nothing to do is no error");
}

pub(crate) async fn replacing(home: &dyn Home) {
    let key = stored(home, b"before").await;
    home.blobs().put(&key, "after".into()).await.unwrap();
    assert_eq!(contents(home, &key).await.unwrap(), "after");
    assert_eq!(home.blobs().keys().await.unwrap(), [key]);
}

pub(crate) async fn inputs_go_at_the_end(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    assert_eq!(contents(home, &claim.job.inputs[0]).await, None);
    assert_eq!(job(home, claim.job.id).await.inputs, []);
    let claim = claimed(home, "b").await;
    home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
    assert_eq!(home.blobs().keys().await.unwrap(), []);
}

pub(crate) async fn shared_inputs_stay(home: &dyn Home) {
    let first = claimed(home, "shared").await;
    let mut second = new_job(home, "own").await;
    second.inputs.extend(first.job.inputs.clone());
    let shared = &first.job.inputs[0];
    home.jobs().submit(second.clone()).await.unwrap();
    home.jobs().complete(&first.token, json!(1), vec![]).await.unwrap();
    assert_eq!(contents(home, shared).await.unwrap(), "shared", "the second job needs it");
    home.jobs().cancel(second.id).await.unwrap();
    assert_eq!(contents(home, shared).await, None);
}

pub(crate) async fn orphans_go(home: &dyn Home) {
    let orphan = stored(home, b"an upload that no job came to name").await;
    home.pass(TTL / 2).await;
    let waiting = submitted(home, "a").await;
    home.jobs().sweep().await.unwrap();
    assert!(contents(home, &orphan).await.is_some(), "it is young");
    home.pass(TTL).await;
    home.jobs().sweep().await.unwrap();
    assert_eq!(contents(home, &orphan).await, None);
    assert_eq!(contents(home, &waiting.inputs[0]).await.unwrap(), "a", "a named file is none");
}

pub(crate) async fn results_are_no_orphans(home: &dyn Home) {
    let claim = claimed(home, "a").await;
    let output = stored(home, b"early").await;
    home.pass(TTL / 2).await;
    home.jobs().heartbeat(&claim.token, LEASE, 0.9).await.unwrap();
    home.jobs().complete(&claim.token, json!(1), vec![output.clone()]).await.unwrap();
    home.pass(TTL * 3 / 4).await;
    home.jobs().sweep().await.unwrap();
    assert_eq!(contents(home, &output).await.unwrap(), "early", "its job lives, though the file is older");
}
