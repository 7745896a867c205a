//! Disks that are full, read-only or no folders at all, for real: a file system of 4 MiB in memory that a child process
//! mounts in a namespace of its own (`unshare -rm`, no rights needed where user namespaces are allowed), and limits on
//! the size of files (`ulimit -f`; `prlimit` for one that comes and goes), which work anywhere on Linux.
//!
//! Where neither root nor user namespaces are to be had (some containers) the first test fails and says so; set
//! `JOBS_TEST_WITHOUT_MOUNT=1` to leave it out knowingly.

#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test they are assertions.

mod process;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use jobs::{BlobKey, BlobStore, Embedded, Error, Job, JobStore, ManualClock, NewJob, Options, State};
use serde_json::json;
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(60);

/// Runs `test` of this binary under `shell`, whose `"$@"` is the command, on a fresh directory.
fn child(test: &str, shell: &str, wrapper: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<&str> = wrapper.to_vec();
    all.extend(["sh", "-c", shell, "sh"]);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).args(process::arguments(test));
    let output = process::on(&mut command, folder.path()).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn a_full_and_a_read_only_disk() {
    if std::env::var_os("JOBS_TEST_WITHOUT_MOUNT").is_some_and(|value| value == "1") {
        eprintln!("left out, as JOBS_TEST_WITHOUT_MOUNT says");
        return;
    }
    let mount = "mount -t tmpfs -o size=4m jobs \"$JOBS_TEST_DIRECTORY\" && exec \"$@\"";
    let possible =
        Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    assert!(possible, "user namespaces are forbidden here; see the head of this file");
    child("on_the_small_disk", mount, &["unshare", "-rm"]);
}

#[test]
fn a_limit_on_the_size_of_files() {
    // Blocks of 512 or 1024 bytes, depending on the shell. The signal must be ignored for the write to fail instead.
    child("under_the_limit", "trap '' XFSZ; ulimit -f 600; exec \"$@\"", &[]);
}

#[test]
fn a_disk_that_refuses_every_write_for_a_while() {
    child("while_nothing_can_be_written", "trap '' XFSZ; exec \"$@\"", &[]);
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Result<Arc<Embedded>, Error> {
    let options =
        Options { queue_limit: 100_000, result_ttl: TTL, clock: clock.clone(), ..Options::default() };
    Embedded::open(folder.join("data"), options)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Puts an input of `size` bytes and submits a job with it and a payload of 4 kB.
async fn submit(store: &Arc<Embedded>, size: usize) -> Result<Arc<Job>, Error> {
    let (jobs, blobs): (Arc<dyn JobStore>, Arc<dyn BlobStore>) = (store.clone(), store.clone());
    let key = BlobKey::random("png");
    blobs.put(&key, vec![7u8; size].into()).await?;
    let payload = json!({ "prompt": "x".repeat(4000) });
    let outcome = jobs.submit(NewJob {
        id: Uuid::new_v4(),
        owner: "open".into(),
        payload,
        inputs: vec![key.clone()],
        ..NewJob::default()
    });
    let outcome = outcome.await;
    if outcome.is_err() {
        blobs.delete(&key).await?;
    }
    outcome
}

/// Submits until it is refused.
async fn submit_until_refused(store: &Arc<Embedded>, size: usize, accepted: &mut Vec<Arc<Job>>) -> Error {
    loop {
        match submit(store, size).await {
            Ok(job) => accepted.push(job),
            Err(error) => return error,
        }
        assert!(accepted.len() < 5000, "the disk never becomes full");
    }
}

async fn all_there(store: &Arc<Embedded>, accepted: &[Arc<Job>]) {
    let (jobs, blobs): (Arc<dyn JobStore>, Arc<dyn BlobStore>) = (store.clone(), store.clone());
    for job in accepted {
        assert_eq!(jobs.get(job.id).await.unwrap().as_ref(), Some(job));
        assert!(blobs.get(&job.inputs[0]).await.unwrap().unwrap().iter().all(|byte| *byte == 7));
    }
    assert_eq!(jobs.counts().await.unwrap().queued, accepted.len());
}

/// Takes all room that is left.
fn fill(path: &Path) {
    let mut hog = File::create(path).unwrap();
    for size in [65536, 4096, 256, 1] {
        while hog.write_all(&vec![1u8; size]).is_ok() {}
    }
}

fn assert_speaks(error: &Error, folder: &Path, kinds: &[io::ErrorKind], remedy: &str) {
    let text = error.to_string();
    match error {
        Error::Storage { source, .. } => assert!(kinds.contains(&source.kind()), "{text}"),
        // What the one before said, for as long as nobody has looked again.
        Error::Unwell { .. } => {}
        _ => panic!("{text}"),
    }
    assert!(text.contains(folder.to_str().unwrap()) && text.contains(remedy), "{text}");
}

const FULL: &[io::ErrorKind] = &[io::ErrorKind::StorageFull];

/// The other part of `a_full_and_a_read_only_disk`.
#[test]
fn on_the_small_disk() {
    let Some(folder) = process::directory() else { return };
    runtime().block_on(async {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let mut store = open(&folder, &clock).unwrap();
        let (mut accepted, ballast) = (Vec::new(), folder.join("ballast"));
        fs::write(&ballast, vec![1u8; 1 << 20]).unwrap();

        // Full by our own files, then by somebody else's to the last byte, so that the documents cannot grow either.
        let error = submit_until_refused(&store, 50_000, &mut accepted).await;
        assert_speaks(&error, &folder, FULL, "free some room");
        assert!(store.unwell().is_some_and(|trouble| trouble.contains("free some room")));
        let refused = submit(&store, 0).await.unwrap_err();
        assert!(matches!(refused, Error::Unwell { .. }), "nothing new on a disk that was just found full");
        drop(store);
        store = open(&folder, &clock).unwrap();
        let hog = folder.join("hog");
        fill(&hog);
        let error = submit_until_refused(&store, 0, &mut accepted).await;
        assert_speaks(&error, &folder, FULL, "free some room");
        println!("{} jobs when full: {error}", accepted.len());
        all_there(&store, &accepted).await;

        // Room again: the same store goes on, and nothing that was refused has appeared.
        fs::remove_file(&hog).unwrap();
        fs::remove_file(&ballast).unwrap();
        store.check().await;
        assert_eq!(store.unwell(), None);
        accepted.push(submit(&store, 10).await.unwrap());
        all_there(&store, &accepted).await;
        drop(store);
        store = open(&folder, &clock).unwrap();
        all_there(&store, &accepted).await;

        expiry_makes_room(&store, &clock, &folder, &mut accepted).await;
        restart_when_full(store, &clock, &folder, &accepted).await;
        read_only(&folder, &clock, &accepted).await;
    });
}

/// On a disk full to the last byte, what expires goes, whether its deletion can be noted or not.
async fn expiry_makes_room(
    store: &Arc<Embedded>,
    clock: &Arc<ManualClock>,
    folder: &Path,
    accepted: &mut Vec<Arc<Job>>,
) {
    let (jobs, blobs): (Arc<dyn JobStore>, Arc<dyn BlobStore>) = (store.clone(), store.clone());
    let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
    assert_eq!(claim.job.id, accepted.remove(0).id);
    let output = claim.job.inputs[0].clone(); // An output of 50 kB without asking the disk for more room.
    jobs.complete(&claim.token, json!(1), vec![output.clone()]).await.unwrap();
    let hog = folder.join("hog");
    fill(&hog);
    clock.advance(TTL);
    let swept = jobs.sweep().await;
    println!("swept on a full disk: {swept:?}");
    assert_eq!(jobs.get(claim.job.id).await.unwrap(), None);
    assert_eq!(blobs.get(&output).await.unwrap(), None, "its room is free");
    fs::remove_file(&hog).unwrap();
    jobs.sweep().await.unwrap();
    jobs.check().await;
    all_there(store, accepted).await;
}

/// A server that starts on a full disk serves what it can or says clearly why it cannot; nothing is lost.
async fn restart_when_full(
    store: Arc<Embedded>,
    clock: &Arc<ManualClock>,
    folder: &Path,
    accepted: &[Arc<Job>],
) {
    let hog = folder.join("hog");
    fill(&hog);
    drop(store);
    match open(folder, clock) {
        Ok(store) => all_there(&store, accepted).await,
        Err(error) => assert_speaks(&error, folder, FULL, "free some room"),
    }
    fs::remove_file(&hog).unwrap();
    all_there(&open(folder, clock).unwrap(), accepted).await;
}

async fn read_only(folder: &Path, clock: &Arc<ManualClock>, accepted: &[Arc<Job>]) {
    let kinds = &[io::ErrorKind::ReadOnlyFilesystem];
    let store = open(folder, clock).unwrap();
    drop(store);
    remount(folder, "ro");
    let error = open(folder, clock).unwrap_err();
    println!("read-only: {error}");
    assert_speaks(&error, folder, kinds, "make it writable");
    let error = Embedded::open(folder.join("elsewhere"), Options::default()).unwrap_err();
    assert_speaks(&error, folder, kinds, "make it writable");
    remount(folder, "rw");
    let store = open(folder, clock).unwrap();
    all_there(&store, accepted).await;
    let jobs: Arc<dyn JobStore> = store;
    let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
    jobs.complete(&claim.token, json!(1), vec![]).await.unwrap();
    assert_eq!(jobs.get(claim.job.id).await.unwrap().unwrap().state, State::Completed);
}

fn remount(folder: &Path, mode: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(folder).status().unwrap();
    assert!(status.success());
}

/// The other part of `a_limit_on_the_size_of_files`.
#[test]
fn under_the_limit() {
    let Some(folder) = process::directory() else { return };
    runtime().block_on(async {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let store = open(&folder, &clock).unwrap();
        let kinds = &[io::ErrorKind::FileTooLarge];
        let error = submit(&store, 1 << 20).await.unwrap_err();
        assert_speaks(&error, &folder, kinds, "free some room");
        assert!(error.to_string().contains("blobs"), "{error}");
        assert_eq!(
            fs::read_dir(folder.join("data/blobs")).unwrap().count(),
            0,
            "nothing half-written is left"
        );
        store.check().await;
        assert_eq!(store.unwell(), None, "a small file can be written");

        let mut accepted = Vec::new();
        let error = submit_until_refused(&store, 10, &mut accepted).await;
        println!("{} jobs at the limit: {error}", accepted.len());
        assert_speaks(&error, &folder, kinds, "free some room");
        assert!(error.to_string().contains("jobs.redb"), "{error}");
        all_there(&store, &accepted).await;
        drop(store);
        all_there(&open(&folder, &clock).unwrap(), &accepted).await;
    });
}

/// Lets no file be written beyond `bytes` by this process.
fn limit(bytes: &str) {
    let arguments = [format!("--pid={}", std::process::id()), format!("--fsize={bytes}:")];
    assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
}

/// The other part of `a_disk_that_refuses_every_write_for_a_while`.
#[test]
fn while_nothing_can_be_written() {
    let Some(folder) = process::directory() else { return };
    runtime().block_on(async {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let store = open(&folder, &clock).unwrap();
        let (jobs, blobs): (Arc<dyn JobStore>, Arc<dyn BlobStore>) = (store.clone(), store.clone());
        let mut over = Vec::new();
        for _ in 0..2 {
            let id = submit(&store, 100).await.unwrap().id;
            let claim = jobs.claim("worker", LEASE).await.unwrap().unwrap();
            jobs.complete(&claim.token, json!(1), claim.job.inputs.clone()).await.unwrap();
            over.push((id, claim.job.inputs[0].clone()));
        }
        submit(&store, 100).await.unwrap();
        let running = jobs.claim("worker", LEASE * 10).await.unwrap().unwrap();
        let waiting = [submit(&store, 100).await.unwrap()];

        limit("0");
        let kinds = &[io::ErrorKind::FileTooLarge];
        assert!(jobs.claim("worker", LEASE).await.is_err());
        assert_eq!(jobs.claim("worker", LEASE).await.unwrap(), None, "nothing is begun on such a disk");
        assert_speaks(&jobs.cancel(waiting[0].id).await.unwrap_err(), &folder, kinds, "free some room");
        assert_speaks(&jobs.delete(over[0].0).await.unwrap_err(), &folder, kinds, "free some room");
        jobs.complete(&running.token, json!(1), vec![]).await.unwrap_err();
        assert_speaks(&submit(&store, 1).await.unwrap_err(), &folder, kinds, "free some room");
        all_there(&store, &waiting).await;
        assert_eq!(jobs.get(running.job.id).await.unwrap(), Some(running.job.clone()));
        for (id, output) in &over {
            assert_eq!(
                jobs.get(*id).await.unwrap().unwrap().state,
                State::Completed,
                "not deleted after all"
            );
            assert!(blobs.get(output).await.unwrap().is_some());
        }
        clock.advance(TTL);
        jobs.sweep().await.unwrap_err();
        for (id, output) in &over {
            assert_eq!(jobs.get(*id).await.unwrap(), None, "expired all the same");
            assert_eq!(blobs.get(output).await.unwrap(), None, "and its file makes room");
        }

        store.check().await;
        assert!(store.unwell().is_some());
        limit("unlimited");
        store.check().await;
        assert_eq!(store.unwell(), None);
        jobs.complete(&running.token, json!(2), vec![]).await.expect("the worker may try again");
        all_there(&store, &waiting).await;
        drop((jobs, blobs, store));
        let store = open(&folder, &clock).unwrap();
        all_there(&store, &waiting).await;
        let jobs: Arc<dyn JobStore> = store.clone();
        assert_eq!(jobs.get(running.job.id).await.unwrap().unwrap().result, Some(json!(2)));
        assert_eq!(store.keys().await.unwrap(), waiting[0].inputs);
    });
}

#[test]
fn folders_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Embedded::open(&path, Options::default()).unwrap_err();
        let kinds = &[io::ErrorKind::AlreadyExists, io::ErrorKind::NotADirectory];
        assert_speaks(&error, folder.path(), kinds, "choose a data directory that is a folder");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
}
