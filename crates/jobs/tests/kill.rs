//! `kill -9` at random moments: a victim process submits, claims, completes, fails, cancels and sweeps as fast as it
//! can and says on its standard output what it was promised; it is killed, the directory is opened, and every promise
//! is looked up. Twenty rounds in an ordinary run; `cargo test -p jobs --release --test kill -- --ignored` does 200
//! (or `JOBS_KILL_ROUNDS`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test they are assertions.

mod process;
mod victim;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jobs::{BlobKey, BlobStore, Counts, Embedded, INTERRUPTED, Job, JobStore, ManualClock, State};
use rand::RngExt as _;
use serde_json::json;
use uuid::Uuid;
use victim::{TTL, input_of, options, output_of};

/// Plays the victim when this binary is run for that; nothing in an ordinary run.
#[test]
fn victim() {
    if let Some(directory) = process::directory() {
        victim::live(&directory);
    }
}

#[test]
fn twenty_kills_lose_nothing() {
    kills(20);
}

#[test]
#[ignore = "minutes; the ordinary run does twenty rounds"]
fn many_kills_lose_nothing() {
    kills(std::env::var("JOBS_KILL_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap()));
}

/// What is known of a job, from the victims' words and from what was seen in the rounds before.
#[derive(Clone, Debug, Default)]
struct Known {
    accepted: bool,
    /// Whether it was last said to be in a worker's hands, in this round.
    begun: bool,
    /// Whether its worker was about to give it back.
    releasing: bool,
    /// The end the victim was promised.
    ended: Option<State>,
    cancelled: bool,
    /// What the last opening showed.
    seen: Option<Arc<Job>>,
}

#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    ended: usize,
    interrupted: usize,
    twice: usize,
    expired: usize,
    slowest_open: Duration,
}

fn kills(rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut known, mut tally) = (BTreeMap::new(), Tally::default());
    for round in 0..rounds {
        let began = now();
        let words = victim_killed_after(folder.path(), rand::rng().random_range(0..400));
        for known in known.values_mut() {
            let known: &mut Known = known;
            known.begun = false;
        }
        tally.accepted += words.iter().filter(|word| word.starts_with("accepted ")).count();
        for word in &words {
            note(&mut known, word);
        }
        runtime.block_on(look(folder.path(), began, &mut known, &mut tally));
        eprintln!("round {round}: {} words", words.len());
    }
    runtime.block_on(finish(folder.path(), &known));
    println!("{rounds} kills: {tally:?}");
    assert!(
        tally.accepted > rounds as usize && tally.ended > 0 && tally.interrupted > 0,
        "too little happened"
    );
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Runs a victim, kills it `ms` after it has opened the directory (or, once in four, after it was started, so that the
/// opening is hit too), and returns its words.
fn victim_killed_after(folder: &Path, ms: u64) -> Vec<String> {
    let arguments = process::arguments("victim");
    let mut command = Command::new(&arguments[0]);
    process::on(&mut command, folder).args(&arguments[1..]).stdout(Stdio::piped());
    let mut victim = command.spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    if !rand::rng().random_ratio(1, 4) {
        assert!(
            lines.by_ref().any(|line| line.ends_with("ready")),
            "the victim could not open the directory"
        );
    }
    let reader = std::thread::spawn(move || lines.collect());
    std::thread::sleep(Duration::from_millis(ms));
    victim.kill().unwrap();
    victim.wait().unwrap();
    reader.join().unwrap()
}

/// Takes down one word of the victim: a letter and a job.
fn note(known: &mut BTreeMap<Uuid, Known>, word: &str) {
    // The harness of the victim's own test has a few words of its own.
    let Some((letter, id)) = word.split_once(' ') else { return };
    assert_ne!(letter, "wrong", "the victim saw something wrong: {id}");
    let Ok(id) = Uuid::parse_str(id) else { return };
    let known = known.entry(id).or_default();
    match letter {
        "try" => {}
        "accepted" => known.accepted = true,
        "begun" => (known.begun, known.releasing) = (true, false),
        "releasing" => known.releasing = true,
        "released" => known.begun = false,
        "cancelling" => known.cancelled = true,
        "completed" => (known.begun, known.ended) = (false, Some(State::Completed)),
        "failed" => (known.begun, known.ended) = (false, Some(State::Failed)),
        other => panic!("unknown word {other:?}"),
    }
}

/// Opens the directory and compares, in a moment that does not pass.
async fn look(folder: &Path, began: u64, known: &mut BTreeMap<Uuid, Known>, tally: &mut Tally) {
    let start = Instant::now();
    let opened = now();
    let clock = Arc::new(ManualClock::at(opened));
    let store = Embedded::open(folder, jobs::Options { clock, ..options() }).unwrap();
    tally.slowest_open = tally.slowest_open.max(start.elapsed());
    let jobs: Arc<dyn JobStore> = store.clone();
    let blobs: Arc<dyn BlobStore> = store;
    let mut named = BTreeSet::new();
    for (id, known) in known.iter_mut() {
        let Some(job) = jobs.get(*id).await.unwrap() else {
            let old_enough = match &known.seen {
                Some(seen) if seen.state.is_terminal() => seen.expires_at.unwrap() <= opened,
                _ => began + TTL.as_millis() as u64 <= opened, // it may have ended right after the round began
            };
            assert!(old_enough || !known.accepted, "job {id} is lost: {known:?}");
            tally.expired += usize::from(known.seen.take().is_some());
            *known = Known { accepted: false, ..known.clone() };
            continue;
        };
        compare(&job, known, &blobs, tally).await;
        named.extend(job.inputs.iter().chain(&job.outputs).cloned());
        known.accepted = true;
        known.ended = job.state.is_terminal().then_some(job.state);
        known.seen = Some(job);
    }
    for entry in fs::read_dir(folder.join("blobs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let key = BlobKey::parse(&name).expect("nothing half-written is left");
        named.remove(&key);
    }
    assert!(named.is_empty(), "files are missing: {named:?}");
}

async fn compare(job: &Job, known: &Known, blobs: &Arc<dyn BlobStore>, tally: &mut Tally) {
    let before = known.seen.as_ref().map_or(0, |seen| seen.retry_count);
    if let Some(state) = known.ended {
        assert_eq!(job.state, state, "the end was promised: {known:?}");
    }
    if let Some(seen) = known.seen.as_ref().filter(|seen| seen.state.is_terminal()) {
        assert_eq!(*job, **seen, "what is over does not change");
    }
    match job.state {
        State::Processing => panic!("nobody has {job:?} in hands"),
        State::Queued => {
            assert_eq!(
                blobs.get(&job.inputs[0]).await.unwrap().unwrap(),
                input_of(job.id),
                "the input is whole"
            );
            if known.begun && known.releasing {
                assert!(job.retry_count >= before, "given back or interrupted, we cannot know");
            } else if known.begun {
                assert_eq!((before, job.retry_count), (0, 1), "it was interrupted, for the first time");
                tally.interrupted += 1;
            }
            assert!(job.retry_count <= 1);
        }
        State::Completed => {
            assert_eq!(job.result, Some(json!({ "length": output_of(job.id).len() })));
            assert_eq!(
                blobs.get(&job.outputs[0]).await.unwrap().unwrap(),
                output_of(job.id),
                "byte for byte"
            );
            tally.ended += usize::from(known.seen.as_ref().is_none_or(|seen| !seen.state.is_terminal()));
        }
        State::Failed => {
            let error = job.error().unwrap();
            match error {
                INTERRUPTED => {
                    assert_eq!((before, job.retry_count), (1, 1), "only the second interruption fails");
                    tally.twice += usize::from(known.begun);
                }
                jobs::CANCELLED => assert!(known.cancelled),
                _ => assert_eq!(error, victim::REASON),
            }
        }
    }
}

/// All that waits is run; then its time passes, and nothing is left.
async fn finish(folder: &Path, known: &BTreeMap<Uuid, Known>) {
    let clock = Arc::new(ManualClock::at(now()));
    let store = Embedded::open(folder, jobs::Options { clock: clock.clone(), ..options() }).unwrap();
    let jobs: Arc<dyn JobStore> = store.clone();
    let blobs: Arc<dyn BlobStore> = store;
    let waiting = known.values().filter(|known| known.accepted && known.ended.is_none()).count();
    let mut run = 0;
    while let Some(claim) = jobs.claim("last", Duration::from_secs(60)).await.unwrap() {
        assert_eq!(blobs.get(&claim.job.inputs[0]).await.unwrap().unwrap(), input_of(claim.job.id));
        jobs.complete(&claim.token, json!("late"), vec![]).await.unwrap();
        assert_eq!(jobs.get(claim.job.id).await.unwrap().unwrap().state, State::Completed);
        run += 1;
    }
    assert_eq!(run, waiting, "whatever waited can be run");
    clock.advance(TTL * 2);
    for id in known.keys() {
        assert_eq!(jobs.get(*id).await.unwrap(), None);
    }
    jobs.sweep().await.unwrap();
    assert_eq!(jobs.counts().await.unwrap(), Counts::default());
    let left: Vec<_> = fs::read_dir(folder.join("blobs")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
