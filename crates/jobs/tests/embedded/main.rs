//! The embedded home: the conformance suite, and what only this home can be asked (restarts, clocks, the lock).

#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test they are assertions.

mod clocks;
#[path = "../conformance/mod.rs"]
mod conformance;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use conformance::{
    DEPOSITS, Home, KEPT, KEPT_EACH, LEASE, LIMIT, TTL, claimed, completed, contents, job, stored, submitted,
};
use jobs::{
    BlobStore, CANCELLED, Embedded, Error, Failure, INTERRUPTED, JobStore, ManualClock, Options, State,
};
use serde_json::json;
use tempfile::TempDir;

/// An embedded home in a folder of its own, with a clock moved by hand.
struct Fixture {
    folder: TempDir,
    clock: Arc<ManualClock>,
    store: Option<Arc<Embedded>>,
}

impl Fixture {
    fn store(&self) -> Arc<Embedded> {
        self.store.clone().unwrap()
    }

    /// Closes the home and opens it again, as a new process would.
    fn restart(&mut self) {
        self.store = None;
        self.store = Some(open_in(self.folder.path(), &self.clock).unwrap());
    }

    fn files(&self) -> Vec<String> {
        let listing = std::fs::read_dir(self.folder.path().join("blobs")).unwrap();
        listing.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[async_trait]
impl Home for Fixture {
    fn jobs(&self) -> Arc<dyn JobStore> {
        self.store()
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.store()
    }

    async fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }
}

fn open_in(folder: &Path, clock: &Arc<ManualClock>) -> Result<Arc<Embedded>, Error> {
    let options = Options {
        queue_limit: LIMIT,
        queue_limit_each: LIMIT,
        result_ttl: TTL,
        unclaimed_ttl: Some(TTL),
        caps: KEPT,
        caps_each: KEPT_EACH,
        caps_deposits: DEPOSITS,
        clock: clock.clone(),
        ..Options::default()
    };
    Embedded::open(folder, options)
}

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn fixture() -> Fixture {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(wall())));
    let store = Some(open_in(folder.path(), &clock).unwrap());
    Fixture { folder, clock, store }
}

/// For the suite, which also knows homes that are not to be had everywhere.
async fn home() -> Option<Fixture> {
    Some(fixture().await)
}

conformance!(home);

#[tokio::test]
async fn everything_survives_a_restart() {
    let mut home = fixture().await;
    let done = completed(&home, "done").await;
    let claim = claimed(&home, "failed").await;
    home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
    let failed = job(&home, claim.job.id).await;
    let running = claimed(&home, "running").await;
    let waiting = [submitted(&home, "first").await, submitted(&home, "second").await];
    home.restart();
    assert_eq!(job(&home, done.id).await, done);
    assert_eq!(contents(&home, &done.outputs[0]).await.unwrap(), "done");
    assert_eq!(home.jobs().by_output(&done.outputs[0]).await.unwrap(), Some(done));
    assert_eq!(job(&home, failed.id).await, failed);
    let back = job(&home, running.job.id).await;
    assert_eq!((back.state, back.retry_count, back.started_at), (State::Queued, 1, None));
    assert!(matches!(
        home.jobs().complete(&running.token, json!(1), vec![]).await,
        Err(Error::LeaseLost { .. })
    ));
    for (place, id) in [back.id, waiting[0].id, waiting[1].id].into_iter().enumerate() {
        assert_eq!(home.jobs().position(id).await.unwrap(), Some(place), "the interrupted one is first");
    }
    for expected in [back.id, waiting[0].id, waiting[1].id] {
        let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
        assert_eq!(claim.job.id, expected);
        assert_eq!(
            contents(&home, &claim.job.inputs[0]).await.unwrap(),
            claim.job.payload["text"].as_str().unwrap()
        );
        home.jobs().complete(&claim.token, json!(1), vec![]).await.unwrap();
    }
    assert_eq!(submitted(&home, "new").await.state, State::Queued);
}

#[tokio::test]
async fn two_restarts_in_the_middle_fail_a_job() {
    let mut home = fixture().await;
    let id = claimed(&home, "a").await.job.id;
    home.restart();
    let again = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!((again.job.id, again.job.retry_count), (id, 1));
    home.restart();
    let failed = job(&home, id).await;
    assert_eq!((failed.state, failed.error()), (State::Failed, Some(INTERRUPTED)));
    assert_eq!((failed.retry_count, home.files().len()), (1, 0));
}

#[tokio::test]
async fn a_job_to_be_cancelled_is_not_run_again() {
    let mut home = fixture().await;
    let id = claimed(&home, "a").await.job.id;
    home.jobs().cancel(id).await.unwrap();
    home.restart();
    assert_eq!(job(&home, id).await.error(), Some(CANCELLED));
}

#[tokio::test]
async fn one_process_a_directory() {
    let mut home = fixture().await;
    let second = open_in(home.folder.path(), &home.clock).unwrap_err();
    let text = second.to_string();
    assert!(matches!(second, Error::InUse { pid, .. } if pid == Some(std::process::id())), "{text}");
    assert!(text.contains(home.folder.path().to_str().unwrap()), "{text}");
    assert!(text.contains("choose another data directory"), "{text}");
    home.restart(); // the end of the first lets the next one in
}

#[tokio::test]
async fn half_written_files_and_strangers() {
    let mut home = fixture().await;
    let key = stored(&home, b"whole").await;
    let blobs = home.folder.path().join("blobs");
    std::fs::write(blobs.join(format!("{}.0.part", jobs::BlobKey::random("png"))), b"hal").unwrap();
    std::fs::write(blobs.join("notes.txt"), b"somebody's").unwrap();
    home.restart();
    let mut files = home.files();
    files.sort();
    let mut expected = vec![key.to_string(), "notes.txt".into()];
    expected.sort();
    assert_eq!(files, expected, "the half is gone, the stranger's file is left alone");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let mut home = fixture().await;
    home.store = None;
    let path = home.folder.path().join("jobs.redb");
    std::fs::write(&path, vec![7u8; 100_000]).unwrap();
    let refused = open_in(home.folder.path(), &home.clock).unwrap_err();
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("jobs.redb"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), vec![7u8; 100_000]);
}

#[tokio::test]
async fn a_database_that_was_never_finished_is_begun_anew() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(wall())));
    std::fs::write(folder.path().join("jobs.new"), b"half a database").unwrap();
    let store = open_in(folder.path(), &clock).unwrap();
    assert_eq!(store.counts().await.unwrap(), jobs::Counts::default());
    assert!(!folder.path().join("jobs.new").exists());
}

#[tokio::test]
async fn files_may_outlive_their_job() {
    let mut home = fixture().await;
    let reopen = |home: &mut Fixture| {
        home.store = None;
        let (file_ttl, clock) = (Some(TTL * 3), home.clock.clone());
        let options = Options { result_ttl: TTL, file_ttl, clock, ..Options::default() };
        home.store = Some(Embedded::open(home.folder.path(), options).unwrap());
    };
    reopen(&mut home);
    let done = completed(&home, "a").await;
    let output = &done.outputs[0];
    home.pass(TTL).await;
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    home.jobs().cancel(done.id).await.unwrap(); // behind the removal, for which nobody waits
    assert_eq!(home.jobs().counts().await.unwrap(), jobs::Counts::default());
    home.jobs().sweep().await.unwrap();
    reopen(&mut home);
    assert_eq!(home.jobs().get(done.id).await.unwrap(), None);
    let owner = home.jobs().by_output(output).await.unwrap().unwrap();
    assert_eq!(
        (owner.id, &owner.payload, &owner.result),
        (done.id, &json!(null), &None),
        "the request is forgotten"
    );
    home.pass(TTL * 2 - Duration::from_millis(1)).await;
    home.jobs().sweep().await.unwrap();
    assert_eq!(contents(&home, output).await.unwrap(), "a");
    assert!(home.jobs().by_output(output).await.unwrap().is_some());
    home.pass(Duration::from_millis(1)).await;
    assert_eq!(home.jobs().by_output(output).await.unwrap(), None);
    home.jobs().sweep().await.unwrap();
    assert_eq!(home.files(), Vec::<String>::new());
}

/// What was counted elsewhere before is taken over, once.
#[tokio::test]
async fn credits_are_taken_over_once_and_survive() {
    let mut home = fixture().await;
    let open = |home: &mut Fixture| {
        home.store = None;
        let used = std::collections::BTreeMap::from([("tester".to_owned(), 7), ("gone".to_owned(), 2)]);
        let options = Options { used, clock: home.clock.clone(), ..Options::default() };
        home.store = Some(Embedded::open(home.folder.path(), options).unwrap());
    };
    open(&mut home);
    assert_eq!(home.jobs().used("tester").await.unwrap(), 7);
    let new = jobs::NewJob { credits: Some(10), ..conformance::new_job(&home, "paid").await };
    home.jobs().submit(new).await.unwrap();
    for _ in 0..2 {
        open(&mut home);
        let used = (home.jobs().used("tester").await.unwrap(), home.jobs().used("gone").await.unwrap());
        assert_eq!(used, (8, 2), "not a second time, and nothing is lost");
    }
    // Killed in the middle of its second run: interrupted twice, and given back by the store itself.
    for _ in 0..2 {
        home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
        open(&mut home);
    }
    assert_eq!(home.jobs().used("tester").await.unwrap(), 7);
}

/// However short results live, a file that is to become one does not go before it is.
#[tokio::test]
async fn work_in_progress_outlives_short_results() {
    let mut home = fixture().await;
    home.store = None;
    let second = Duration::from_secs(1);
    let options = Options { result_ttl: second, clock: home.clock.clone(), ..Options::default() };
    home.store = Some(Embedded::open(home.folder.path(), options).unwrap());
    let claim = claimed(&home, "a").await;
    let output = stored(&home, b"early").await;
    for _ in 0..60 {
        home.pass(second).await;
        home.jobs().heartbeat(&claim.token, LEASE, 0.5).await.unwrap();
        home.jobs().sweep().await.unwrap();
    }
    home.jobs().complete(&claim.token, json!(1), vec![output.clone()]).await.unwrap();
    home.pass(second).await;
    home.jobs().sweep().await.unwrap();
    assert_eq!(contents(&home, &output).await, None, "then it is a result like any other");
}

/// What only the owner of the server may read: prompts, URLs, and the names that are the only key to files.
#[cfg(unix)]
#[tokio::test]
async fn nobody_else_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(wall())));
    let dir = folder.path().join("made/by/others");
    std::fs::create_dir_all(&dir).unwrap();
    let store = open_in(&dir, &clock).unwrap();
    let home = Fixture { folder, clock, store: Some(store) };
    let key = stored(&home, b"a").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in ["jobs.redb", "lock", &format!("blobs/{key}")] {
        assert_eq!(mode(&dir.join(path)), 0o600, "{path}");
    }
    assert_eq!(mode(&dir.join("blobs")), 0o700);
    // One of an earlier version is taken back.
    let mut home = home;
    home.store = None;
    std::fs::set_permissions(dir.join("jobs.redb"), std::fs::Permissions::from_mode(0o644)).unwrap();
    home.store = Some(open_in(&dir, &home.clock).unwrap());
    assert_eq!(mode(&dir.join("jobs.redb")), 0o600);
}

/// The folder is deleted under the running server, or another one takes its name.
#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_is_gone_is_noticed() {
    let mut home = fixture().await;
    let outer = tempfile::tempdir().unwrap();
    let (dir, aside) = (outer.path().join("data"), outer.path().join("aside"));
    home.store = Some(open_in(&dir, &home.clock).unwrap());
    let waiting = submitted(&home, "a").await;
    home.jobs().check().await;
    assert_eq!(home.jobs().unwell(), None);

    std::fs::rename(&dir, &aside).unwrap();
    home.jobs().check().await;
    let trouble = home.jobs().unwell().expect("noticed");
    assert!(trouble.contains("deleted or exchanged") && trouble.contains(dir.to_str().unwrap()), "{trouble}");
    let second = open_in(&dir, &home.clock).unwrap(); // another server on the same name
    home.jobs().check().await;
    let put = home.blobs().put(&jobs::BlobKey::random("png"), "x".into()).await.unwrap_err();
    assert!(matches!(put, Error::Unwell { .. }), "{put}");
    let new = jobs::NewJob { id: uuid::Uuid::new_v4(), owner: "open".into(), ..jobs::NewJob::default() };
    assert!(matches!(home.jobs().submit(new).await, Err(Error::Unwell { .. })));
    assert_eq!(home.jobs().claim("worker", LEASE).await.unwrap(), None, "nothing is begun");
    assert!(std::fs::read_dir(dir.join("blobs")).unwrap().next().is_none(), "nothing lands at the other's");
    drop(second);

    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    home.jobs().check().await;
    assert_eq!(home.jobs().unwell(), None, "put back, all goes on");
    assert_eq!(home.jobs().claim("worker", LEASE).await.unwrap().unwrap().job.id, waiting.id);
}

/// A flood of jobs with long requests: neither memory nor the file keeps what they asked for, nor do they stay for ever.
#[tokio::test]
async fn documents_do_not_outlive_their_time_nor_their_use() {
    let mut home = fixture().await;
    home.store = None;
    let options =
        |clock: &Arc<ManualClock>| Options { result_ttl: TTL, clock: clock.clone(), ..Options::default() };
    home.store = Some(Embedded::open(home.folder.path(), options(&home.clock)).unwrap());
    let long = "x".repeat(1 << 20);
    for _ in 0..40 {
        let payload = json!({ "prompt": long });
        let new =
            jobs::NewJob { id: uuid::Uuid::new_v4(), owner: "open".into(), payload, ..Default::default() };
        home.jobs().submit(new).await.unwrap();
        let claim = home.jobs().claim("worker", LEASE).await.unwrap().unwrap();
        home.jobs().fail(&claim.token, Failure::server("no")).await.unwrap();
        assert!(job(&home, claim.job.id).await.payload.is_null());
    }
    let size = |home: &Fixture| std::fs::metadata(home.folder.path().join("jobs.redb")).unwrap().len();
    println!("{} bytes before", size(&home));
    home.pass(TTL).await;
    home.store = None;
    home.store = Some(Embedded::open(home.folder.path(), options(&home.clock)).unwrap());
    assert_eq!(home.jobs().counts().await.unwrap(), jobs::Counts::default(), "expired while reading");
    submitted(&home, "a").await;
    home.store = None;
    home.store = Some(Embedded::open(home.folder.path(), options(&home.clock)).unwrap());
    println!("{} bytes after", size(&home));
    assert!(size(&home) < 8 << 20);
    assert_eq!(home.jobs().counts().await.unwrap().queued, 1);
}
