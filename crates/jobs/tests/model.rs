//! Random sequences of calls, restarts included, against a model so plain that it is right by inspection.
//! After every step all that can be asked is asked and compared: every job ever seen, places, counts, files.

#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test they are assertions.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use jobs::{
    Beat, BlobKey, BlobStore, CANCELLED, CancelOutcome, Counts, Embedded, Error, Failure, INTERRUPTED,
    JobStore, LeaseToken, ManualClock, NewJob, Options, State,
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

const LIMIT: usize = 5;
const TTL: u64 = 1000;
const LEASE: u64 = 300;
/// What a worker has to show that it lives.
const CHANCE: u64 = 1000;
const BEGIN: u64 = 1_800_000_000_000;

#[derive(Clone, Debug)]
enum Step {
    Submit,
    Claim,
    /// The numbers below pick a job (or a token) out of those seen, by the remainder.
    Heartbeat(usize),
    Complete(usize),
    Fail(usize),
    Release(usize),
    Cancel(usize),
    Delete(usize),
    Upload,
    Pass(u64),
    SetBack(u64),
    SetForward(u64),
    Sweep,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = 0usize..64;
    let step = prop_oneof![
        8 => Just(Step::Submit),
        6 => Just(Step::Claim),
        4 => any.clone().prop_map(Step::Heartbeat),
        5 => any.clone().prop_map(Step::Complete),
        2 => any.clone().prop_map(Step::Fail),
        2 => any.clone().prop_map(Step::Release),
        2 => any.clone().prop_map(Step::Cancel),
        1 => any.prop_map(Step::Delete),
        1 => Just(Step::Upload),
        5 => (1u64..1200).prop_map(Step::Pass),
        1 => (1u64..100_000).prop_map(Step::SetBack),
        1 => (1u64..10_000_000).prop_map(Step::SetForward),
        3 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Known {
    id: Uuid,
    state: State,
    retries: u32,
    cancel: bool,
    error: Option<String>,
    input: BlobKey,
    output: Option<BlobKey>,
    expires: Option<u64>,
    /// The claim it is held under and the end of the lease.
    held: Option<(LeaseToken, u64)>,
    /// When a sweep first found that it had lapsed.
    missed: Option<u64>,
    deleted: bool,
}

/// The jobs in the order of submission, which is that of the queue.
#[derive(Default)]
struct Model {
    jobs: Vec<Known>,
    tokens: Vec<LeaseToken>,
    uploads: Vec<(BlobKey, u64)>,
    now: u64,
}

impl Model {
    fn live(&self) -> impl Iterator<Item = &Known> {
        self.jobs.iter().filter(|job| !job.deleted && job.expires.is_none_or(|at| at > self.now))
    }

    fn waiting(&self) -> Vec<Uuid> {
        self.live().filter(|job| job.state == State::Queued).map(|job| job.id).collect()
    }

    /// The oldest one; one that was interrupted runs alone.
    fn next_up(&self) -> Option<Uuid> {
        let running: Vec<&Known> = self.jobs.iter().filter(|job| job.held.is_some()).collect();
        let first = self.live().find(|job| job.state == State::Queued)?;
        let alone = running.is_empty() || first.retries == 0;
        (alone && running.iter().all(|job| job.retries == 0)).then_some(first.id)
    }

    fn holder(&mut self, token: &LeaseToken) -> Option<&mut Known> {
        self.jobs.iter_mut().find(|job| job.held.as_ref().is_some_and(|(held, _)| held == token))
    }

    fn end(now: u64, job: &mut Known, state: State, error: Option<&str>) {
        (job.state, job.error, job.held, job.expires) =
            (state, error.map(str::to_owned), None, Some(now + TTL));
    }

    fn interrupt(&mut self, lapsed_only: bool) {
        let now = self.now;
        for job in &mut self.jobs {
            let Some((_, until)) = job.held else { continue };
            if lapsed_only && (until > now || now < *job.missed.get_or_insert(now) + CHANCE) {
                continue;
            }
            job.missed = None;
            if job.cancel {
                Self::end(now, job, State::Failed, Some(CANCELLED));
            } else if job.retries > 0 {
                Self::end(now, job, State::Failed, Some(INTERRUPTED));
            } else {
                (job.state, job.retries, job.held) = (State::Queued, 1, None);
            }
        }
    }

    fn files(&self) -> BTreeSet<BlobKey> {
        // A job that was deleted while it runs keeps its input until its worker lets go of it.
        let held = self.jobs.iter().filter(|job| job.deleted && job.held.is_some());
        let inputs = self.live().filter(|job| !job.state.is_terminal()).chain(held).map(|job| &job.input);
        let outputs = self.live().filter_map(|job| job.output.as_ref());
        inputs.chain(outputs).chain(self.uploads.iter().map(|(key, _)| key)).cloned().collect()
    }
}

struct Run {
    store: Option<Arc<Embedded>>,
    clock: Arc<ManualClock>,
    model: Model,
}

impl Run {
    fn open(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Embedded> {
        let options = Options {
            queue_limit: LIMIT,
            result_ttl: Duration::from_millis(TTL),
            unclaimed_ttl: Some(Duration::from_millis(TTL)),
            clock: clock.clone(),
            ..Options::default()
        };
        Embedded::open(folder, options).unwrap()
    }

    fn jobs(&self) -> Arc<dyn JobStore> {
        self.store.clone().unwrap()
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.store.clone().unwrap()
    }

    async fn file(&self) -> BlobKey {
        let key = BlobKey::random("png");
        self.blobs().put(&key, key.to_string().into()).await.unwrap();
        key
    }

    fn token(&self, pick: usize) -> LeaseToken {
        let nobody = LeaseToken { id: Uuid::new_v4(), claim: Uuid::new_v4() };
        let count = self.model.tokens.len();
        if count == 0 { nobody } else { self.model.tokens[pick % count].clone() }
    }

    fn id(&self, pick: usize) -> Uuid {
        let count = self.model.jobs.len();
        if count == 0 { Uuid::new_v4() } else { self.model.jobs[pick % count].id }
    }

    async fn submit(&mut self) {
        let (id, input) = (Uuid::new_v4(), self.file().await);
        let new = NewJob {
            id,
            owner: "open".into(),
            payload: json!({}),
            inputs: vec![input.clone()],
            ..NewJob::default()
        };
        let outcome = self.jobs().submit(new).await;
        if self.model.waiting().len() >= LIMIT {
            assert!(matches!(outcome, Err(Error::QueueFull { limit: LIMIT })));
            self.model.uploads.push((input, self.model.now));
            return;
        }
        assert_eq!(outcome.unwrap().submitted_at, self.model.now);
        let (state, error, output, expires, held) = (State::Queued, None, None, None, None);
        let (retries, cancel, deleted, missed) = (0, false, false, None);
        self.model.jobs.push(Known {
            id,
            state,
            retries,
            cancel,
            error,
            input,
            output,
            expires,
            held,
            missed,
            deleted,
        });
    }

    async fn claim(&mut self) {
        let lease = Duration::from_millis(LEASE);
        let claim = self.jobs().claim("worker", lease).await.unwrap();
        let first = self.model.next_up();
        assert_eq!(claim.as_ref().map(|claim| claim.job.id), first, "the oldest one");
        let Some(claim) = claim else { return };
        let until = self.model.now + LEASE;
        let job = self.model.jobs.iter_mut().find(|job| job.id == claim.job.id).unwrap();
        (job.state, job.held, job.missed) = (State::Processing, Some((claim.token.clone(), until)), None);
        self.model.tokens.push(claim.token);
    }

    async fn heartbeat(&mut self, pick: usize) {
        let (token, now) = (self.token(pick), self.model.now);
        let beat = self.jobs().heartbeat(&token, Duration::from_millis(LEASE), 0.5).await.unwrap();
        let expected = match self.model.holder(&token) {
            None => Beat::Lost,
            Some(job) => {
                (job.held, job.missed) = (Some((token, now + LEASE)), None);
                if job.cancel { Beat::Cancel } else { Beat::Continue }
            }
        };
        assert_eq!(beat, expected);
    }

    /// Completes, fails or releases.
    async fn let_go(&mut self, step: &Step, pick: usize) {
        let (token, now) = (self.token(pick), self.model.now);
        let output = if matches!(step, Step::Complete(_)) { Some(self.file().await) } else { None };
        let outcome = match &output {
            Some(key) => self.jobs().complete(&token, json!({ "file": key }), vec![key.clone()]).await,
            None if matches!(step, Step::Fail(_)) => self.jobs().fail(&token, Failure::server("no")).await,
            None => self.jobs().release(&token).await,
        };
        let Some(job) = self.model.holder(&token) else {
            assert!(matches!(outcome, Err(Error::LeaseLost { .. })), "{outcome:?}");
            self.model.uploads.extend(output.map(|key| (key, now)));
            return;
        };
        outcome.unwrap();
        match step {
            Step::Complete(_) => Model::end(now, job, State::Completed, None),
            Step::Fail(_) => Model::end(now, job, State::Failed, Some("no")),
            _ if job.cancel => Model::end(now, job, State::Failed, Some(CANCELLED)),
            _ => (job.state, job.held) = (State::Queued, None),
        }
        job.output = output;
    }

    async fn cancel(&mut self, pick: usize) {
        let (id, now) = (self.id(pick), self.model.now);
        let outcome = self.jobs().cancel(id).await.unwrap();
        let live = self.model.live().any(|job| job.id == id);
        let job = self.model.jobs.iter_mut().find(|job| job.id == id).filter(|_| live);
        let expected = match job {
            None => CancelOutcome::Unknown,
            Some(job) if job.state.is_terminal() => CancelOutcome::AlreadyOver,
            Some(job) => {
                job.cancel = true;
                if job.state == State::Queued {
                    Model::end(now, job, State::Failed, Some(CANCELLED));
                    CancelOutcome::Cancelled
                } else {
                    CancelOutcome::Requested
                }
            }
        };
        assert_eq!(outcome, expected);
    }

    async fn delete(&mut self, pick: usize) {
        let id = self.id(pick);
        let (live, now) = (self.model.live().any(|job| job.id == id), self.model.now);
        assert_eq!(self.jobs().delete(id).await.unwrap(), live);
        let Some(job) = self.model.jobs.iter_mut().find(|job| job.id == id).filter(|_| live) else { return };
        job.deleted = true;
        if job.state == State::Queued {
            Model::end(now, job, State::Failed, Some(CANCELLED));
        }
        job.cancel |= job.state == State::Processing;
    }

    async fn step(&mut self, step: &Step, folder: &Path) {
        match *step {
            Step::Submit => self.submit().await,
            Step::Claim => self.claim().await,
            Step::Heartbeat(pick) => self.heartbeat(pick).await,
            Step::Complete(pick) | Step::Fail(pick) | Step::Release(pick) => self.let_go(step, pick).await,
            Step::Cancel(pick) => self.cancel(pick).await,
            Step::Delete(pick) => self.delete(pick).await,
            Step::Upload => {
                let key = self.file().await;
                self.model.uploads.push((key, self.model.now));
            }
            Step::Pass(ms) => {
                self.clock.advance(Duration::from_millis(ms));
                self.model.now += ms;
            }
            // Neither matters until the next start.
            Step::SetBack(ms) => self.clock.set_wall(self.model.now - ms),
            Step::SetForward(ms) => self.clock.set_wall(self.model.now + ms),
            Step::Sweep => {
                self.jobs().sweep().await.unwrap();
                self.model.interrupt(true);
                let now = self.model.now;
                self.model.uploads.retain(|(_, born)| born + TTL > now);
            }
            Step::Restart => {
                self.clock.set_wall(self.model.now);
                self.store = None;
                self.store = Some(Self::open(folder, &self.clock));
                self.model.interrupt(false);
            }
        }
    }

    async fn check(&self) {
        let (jobs, mut counts) = (self.jobs(), Counts::default());
        let waiting = self.model.waiting();
        for known in &self.model.jobs {
            let live = self.model.live().any(|job| job.id == known.id);
            let got = jobs.get(known.id).await.unwrap();
            assert_eq!(got.is_some(), live, "{} is there", known.id);
            let place = waiting.iter().position(|id| *id == known.id);
            assert_eq!(jobs.position(known.id).await.unwrap(), place);
            assert_eq!(jobs.progress(known.id).await.unwrap().is_some(), known.held.is_some());
            if let Some(output) = &known.output {
                let owner = jobs.by_output(output).await.unwrap().map(|job| job.id);
                assert_eq!(owner, live.then_some(known.id));
            }
            let Some(got) = got else { continue };
            assert_eq!((got.state, got.retry_count), (known.state, known.retries));
            assert_eq!((got.error(), got.expires_at), (known.error.as_deref(), known.expires));
            assert_eq!(got.cancel_requested, known.cancel);
            assert_eq!(got.outputs, known.output.iter().cloned().collect::<Vec<_>>());
            match known.state {
                State::Queued => counts.queued += 1,
                State::Processing => counts.processing += 1,
                State::Completed => counts.completed += 1,
                State::Failed => counts.failed += 1,
            }
        }
        // What was found expired is removed without anybody waiting for it; a change behind it is waited for.
        jobs.cancel(Uuid::new_v4()).await.unwrap();
        assert_eq!(jobs.counts().await.unwrap(), counts);
        let there: BTreeSet<BlobKey> = self.blobs().keys().await.unwrap().into_iter().collect();
        assert_eq!(there, self.model.files());
        for key in there {
            assert_eq!(self.blobs().get(&key).await.unwrap().unwrap(), key.as_str());
        }
    }
}

/// In memory where the system offers it: nothing is cut off here, and thousands of disk syncs take minutes.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

async fn run(steps: &[Step]) {
    let (folder, clock) = (folder(), Arc::new(ManualClock::at(BEGIN)));
    let model = Model { now: BEGIN, ..Model::default() };
    let mut run = Run { store: Some(Run::open(folder.path(), &clock)), clock, model };
    for step in steps {
        run.step(step, folder.path()).await;
        run.check().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_does_what_the_model_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&steps));
    }
}
