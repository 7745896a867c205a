//! The one thread that changes anything. It takes whatever transitions have gathered, applies them to its draft,
//! commits them together (one sync of the disk for all), publishes the outcome and answers the callers. If the commit
//! fails, the draft is taken back and every caller of the batch hears the reason.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc},
    thread::JoinHandle,
};

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{
    book::Book,
    ledger::{Entry, Ledger},
    life::{Draft, Next, Surroundings},
};
use crate::{Blame, Endings, Error, Job, Result, State};

/// Most transitions in one commit: bounds the wait of the first of them.
const BATCH: usize = 256;

/// A transition; it returns what is to be said when the commit's outcome is known.
type Act = Box<dyn FnOnce(&mut Draft<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(&Result<()>) + Send>;

/// What readers see.
#[derive(Debug)]
pub(super) struct Published {
    book: RwLock<Book>,
    /// Whether a job may be claimed.
    pub(super) claimable: watch::Sender<bool>,
    /// Counts the jobs that came in wanting inputs.
    pub(super) arrivals: watch::Sender<u64>,
    endings: Mutex<Endings>,
    /// Counts the moments at which some job became terminal or went.
    pub(super) ends: watch::Sender<u64>,
}

impl Published {
    fn of(book: Book) -> Self {
        let claimable = watch::Sender::new(book.next_up().is_some());
        let (arrivals, ends) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { book: RwLock::new(book), claimable, arrivals, endings: Mutex::default(), ends }
    }

    /// What has become of jobs so far.
    pub(super) fn endings(&self) -> Endings {
        *self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable state. Held for a look-up only, never over an `await`.
    pub(super) fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hand that reaches the thread. Dropped, it lets the thread finish what it has and waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    acts: Option<mpsc::Sender<Act>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Puts the book of an earlier process in order (no job has a worker any more, some have expired since) and starts
    /// the thread.
    pub(super) fn start(
        around: Surroundings,
        mut ledger: Ledger,
        mut book: Book,
        used: Vec<(String, u64)>,
    ) -> Result<(Self, Arc<Published>)> {
        let published = Arc::new(Published::of(book.clone()));
        let mut next = Next { seq: book.next_seq(), turn: 0 };
        let mut draft = Draft::new(&around, &mut book, &mut next);
        draft.adopt(used);
        draft.interrupt_all();
        draft.expire();
        commit(draft, &mut ledger, &published)?;
        let health = Arc::clone(&around.health);
        let mut desk = Desk { around, ledger, book, next, published: Arc::clone(&published) };
        let (acts, inbox) = mpsc::channel::<Act>();
        let thread = std::thread::Builder::new().name("jobs".into()).spawn(move || {
            let working = AssertUnwindSafe(|| {
                while let Ok(first) = inbox.recv() {
                    desk.work(std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)));
                }
            });
            if catch_unwind(working).is_err() {
                // Nobody knows what the draft is worth now. Everything is refused from here on, and readiness says why.
                health.stopped();
            }
        });
        let thread = thread.map_err(Error::storage("start a thread for", "jobs.redb"))?;
        Ok((Self { acts: Some(acts), thread: Some(thread) }, published))
    }

    /// Has a transition made; its outcome comes when it is durable.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        transition: impl FnOnce(&mut Draft<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (say, hear) = oneshot::channel();
        self.send(move |draft| {
            let outcome = transition(draft);
            Box::new(move |commit| {
                // Nobody may listen any more; the transition stands all the same.
                let _ = say.send(outcome.and_then(|value| commit.clone().map(|()| value)));
            })
        })?;
        hear.await.map_err(|_| Error::Closed)?
    }

    /// Has a transition made some time, with nobody waiting for it.
    pub(super) fn change_later(&self, transition: impl FnOnce(&mut Draft<'_>) + Send + 'static) {
        // Closed means that the process ends, and the next start interrupts what was running anyway.
        let _ = self.send(move |draft| {
            transition(draft);
            Box::new(|_| {})
        });
    }

    fn send(&self, act: impl FnOnce(&mut Draft<'_>) -> Answer + Send + 'static) -> Result<()> {
        let acts = self.acts.as_ref().ok_or(Error::Closed)?;
        acts.send(Box::new(act)).map_err(|_| Error::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.acts = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the jobs had panicked");
        }
    }
}

/// What the thread works with.
struct Desk {
    around: Surroundings,
    ledger: Ledger,
    book: Book,
    next: Next,
    published: Arc<Published>,
}

impl Desk {
    fn work(&mut self, acts: impl Iterator<Item = Act>) {
        let mut draft = Draft::new(&self.around, &mut self.book, &mut self.next);
        let answers: Vec<Answer> = acts.map(|act| act(&mut draft)).collect();
        let outcome = commit(draft, &mut self.ledger, &self.published);
        for answer in answers {
            answer(&outcome);
        }
    }
}

/// Makes a draft durable and public, or takes it back.
fn commit(draft: Draft<'_>, ledger: &mut Ledger, published: &Published) -> Result<()> {
    let touched: HashSet<Uuid> = draft.before.iter().map(|(id, _)| *id).collect();
    let owners: Vec<String> = draft.before_used.iter().map(|(owner, _)| owner.clone()).collect();
    if touched.is_empty() && owners.is_empty() && ledger.settled() {
        return Ok(());
    }
    let (doomed, now) = (draft.unnamed(), draft.around.time.now());
    let entry = Entry { book: draft.book, touched: touched.iter().copied().collect(), owners, doomed, now };
    let written = ledger.write(&entry);
    draft.around.health.note(&written);
    let Entry { doomed, owners, .. } = entry;
    let around = draft.around;
    match &written {
        Ok(()) => {
            publish(published, draft.book, &touched, &owners);
            bury(around, &doomed);
        }
        Err(error) => {
            tracing::error!(%error, "jobs could not be written");
            // Expired jobs stay expired whether the disk knows it or not, so their files can make room on a full one.
            let expired: Vec<_> = draft.before.iter().filter_map(|(_, record)| record.as_deref()).collect();
            let expired = expired.into_iter().filter(|record| record.files_expired(now));
            let files: Vec<_> = expired.flat_map(|record| record.job.outputs.iter()).collect();
            let files: Vec<_> = doomed.iter().filter(|key| files.contains(key)).cloned().collect();
            draft.undo();
            bury(around, &files);
        }
    }
    let book = published.book();
    for id in touched {
        if book.get(id).is_none_or(|record| record.claim.is_none()) {
            around.pulses.forget(id);
        }
    }
    written
}

fn publish(published: &Published, draft: &Book, touched: &HashSet<Uuid>, owners: &[String]) {
    let (mut ended, mut arrived) = (false, 0);
    let mut endings = published.endings();
    let claimable = {
        let mut book = published.book.write().unwrap_or_else(PoisonError::into_inner);
        for owner in owners {
            book.set_used(owner, draft.used(owner));
        }
        for id in touched {
            let record = draft.get(*id).cloned();
            ended |= record.as_ref().is_none_or(|record| record.job.state.is_terminal());
            let before = book.set(*id, record.clone());
            let Some(record) = record.filter(|record| !record.deposit) else { continue };
            arrived += u64::from(record.job.wanting && before.is_none());
            count(&mut endings, before.as_ref().map(|before| &*before.job), &record.job);
        }
        book.next_up().is_some()
    };
    *published.endings.lock().unwrap_or_else(PoisonError::into_inner) = endings;
    published.claimable.send_if_modified(|now| std::mem::replace(now, claimable) != claimable);
    if arrived > 0 {
        published.arrivals.send_modify(|arrivals| *arrivals += arrived);
    }
    if ended {
        published.ends.send_modify(|ends| *ends += 1);
    }
}

/// Counts what has become of a job.
fn count(endings: &mut Endings, before: Option<&Job>, job: &Job) {
    let Some(before) = before.filter(|before| !before.state.is_terminal()) else { return };
    let counter = match (job.state, job.blame()) {
        (State::Completed, _) => &mut endings.completed,
        (State::Failed, Some(Blame::Cancelled)) => &mut endings.cancelled,
        (State::Failed, Some(Blame::Interrupted)) => &mut endings.interrupted,
        (State::Failed, _) => &mut endings.failed,
        (State::Queued, _) if job.retry_count > before.retry_count => &mut endings.retried,
        (State::Queued, _) if before.state == State::Processing => &mut endings.released,
        _ => return,
    };
    *counter += 1;
}

fn bury(around: &Surroundings, keys: &[crate::BlobKey]) {
    for key in keys {
        if let Err(error) = around.shelf.remove(key) {
            // It is on the list of the doomed until the next commit, and an orphan ever after.
            tracing::error!(%error, "a file that is due could not be deleted");
        }
    }
}
