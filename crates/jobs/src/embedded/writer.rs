//! The one thread that changes anything. It takes whatever transitions have gathered, applies them to its index,
//! commits them together (one sync of the disk for all), publishes the outcome and answers the callers. If the commit
//! fails, they are undone and every caller of the batch is given the reason.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc},
    thread::JoinHandle,
};

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{
    documents::{Documents, Entry},
    index::{Index, Record},
    transitions::{Context, Transaction},
};
use crate::{Blame, Endings, Error, Job, Result, State};

/// Most transitions in one commit: bounds the wait of the first of them.
const BATCH: usize = 256;

/// A transition; it returns what is to be said when the commit's outcome is known.
type Act = Box<dyn FnOnce(&mut Transaction<'_>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(&Result<()>) + Send>;

/// What readers see.
#[derive(Debug)]
pub(super) struct Published {
    index: RwLock<Index>,
    /// Counts the changes; what can be claimed may be other than before.
    pub(super) changes: watch::Sender<u64>,
    /// Counts the jobs that came in wanting inputs.
    pub(super) arrivals: watch::Sender<u64>,
    endings: Mutex<Endings>,
    /// Counts the moments at which some job came into another state or went.
    pub(super) moves: watch::Sender<u64>,
}

impl Published {
    fn of(index: Index) -> Self {
        let [changes, arrivals, moves] = std::array::from_fn(|_| watch::Sender::new(0));
        Self { index: RwLock::new(index), changes, arrivals, endings: Mutex::default(), moves }
    }

    /// What has become of jobs so far.
    pub(super) fn endings(&self) -> Endings {
        *self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable state. Held for a look-up only, never over an `await`.
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to the thread. Dropped, it lets the thread finish what it has and waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    acts: Option<mpsc::Sender<Act>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Puts the records of an earlier process in order (no job has a worker any more, some have expired since) and starts
    /// the thread.
    pub(super) fn start(
        context: Context,
        mut documents: Documents,
        mut index: Index,
        used: Vec<(String, u64)>,
    ) -> Result<(Self, Arc<Published>)> {
        let published = Arc::new(Published::of(index.clone()));
        let mut next_seq = index.next_seq();
        let mut transaction = Transaction::new(&context, &mut index, &mut next_seq);
        transaction.adopt(used);
        transaction.interrupt_all();
        transaction.expire();
        commit(transaction, &mut documents, &published)?;
        let health = Arc::clone(&context.health);
        let mut state =
            WriterState { context, documents, index, next_seq, published: Arc::clone(&published) };
        let (acts, inbox) = mpsc::channel::<Act>();
        let thread = std::thread::Builder::new().name("jobs".into()).spawn(move || {
            let working = AssertUnwindSafe(|| {
                while let Ok(first) = inbox.recv() {
                    state.work(std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)));
                }
            });
            if catch_unwind(working).is_err() {
                // Nobody knows what the index is worth now. Everything is refused from here on, and readiness says why.
                health.stopped();
            }
        });
        let thread = thread.map_err(Error::storage("start a thread for", "jobs.redb"))?;
        Ok((Self { acts: Some(acts), thread: Some(thread) }, published))
    }

    /// Has a transition made; its outcome comes when it is durable.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        transition: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (say, hear) = oneshot::channel();
        self.send(move |transaction| {
            let outcome = transition(transaction);
            Box::new(move |commit| {
                // Nobody may listen any more; the transition stands all the same.
                let _ = say.send(outcome.and_then(|value| commit.clone().map(|()| value)));
            })
        })?;
        hear.await.map_err(|_| Error::Closed)?
    }

    /// Has a transition made some time, with nobody waiting for it.
    pub(super) fn change_later(&self, transition: impl FnOnce(&mut Transaction<'_>) + Send + 'static) {
        // Closed means that the process ends, and the next start interrupts what was running anyway.
        let _ = self.send(move |transaction| {
            transition(transaction);
            Box::new(|_| {})
        });
    }

    fn send(&self, act: impl FnOnce(&mut Transaction<'_>) -> Answer + Send + 'static) -> Result<()> {
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

/// What the thread owns.
struct WriterState {
    context: Context,
    documents: Documents,
    index: Index,
    next_seq: u64,
    published: Arc<Published>,
}

impl WriterState {
    fn work(&mut self, acts: impl Iterator<Item = Act>) {
        let mut transaction = Transaction::new(&self.context, &mut self.index, &mut self.next_seq);
        let answers: Vec<Answer> = acts.map(|act| act(&mut transaction)).collect();
        let outcome = commit(transaction, &mut self.documents, &self.published);
        for answer in answers {
            answer(&outcome);
        }
    }
}

/// Makes a transaction durable and visible, or undoes it.
fn commit(transaction: Transaction<'_>, documents: &mut Documents, published: &Published) -> Result<()> {
    let noticed = transaction.before_notices.iter().map(|(id, _)| *id);
    let touched: HashSet<Uuid> = transaction.before.iter().map(|(id, _)| *id).chain(noticed).collect();
    let owners: Vec<String> = transaction.before_used.iter().map(|(owner, _)| owner.clone()).collect();
    if touched.is_empty() && owners.is_empty() && documents.settled() {
        return Ok(());
    }
    let (pending_deletes, now) = (transaction.unnamed(), transaction.context.time.now());
    let entry = Entry {
        index: transaction.index,
        touched: touched.iter().copied().collect(),
        owners,
        pending_deletes,
        now,
    };
    let written = documents.write(&entry);
    transaction.context.health.note(&written);
    let Entry { pending_deletes, owners, .. } = entry;
    let context = transaction.context;
    match &written {
        Ok(()) => {
            publish(published, transaction.index, &touched, &owners);
            delete_files(context, &pending_deletes);
        }
        Err(error) => {
            tracing::error!(%error, "jobs could not be written");
            // Expired jobs stay expired whether the disk knows it or not, so their files can make room on a full one.
            let expired: Vec<_> =
                transaction.before.iter().filter_map(|(_, record)| record.as_deref()).collect();
            let expired = expired.into_iter().filter(|record| record.files_expired(now));
            let files: Vec<_> = expired.flat_map(|record| record.job.outputs.iter()).collect();
            let files: Vec<_> = pending_deletes.iter().filter(|key| files.contains(key)).cloned().collect();
            transaction.undo();
            delete_files(context, &files);
        }
    }
    let index = published.index();
    for id in touched {
        if index.get(id).is_none_or(|record| record.claim.is_none()) {
            context.leases.forget(id);
        }
    }
    written
}

fn publish(published: &Published, committed: &Index, touched: &HashSet<Uuid>, owners: &[String]) {
    let (mut moved, mut arrived) = (false, 0);
    let mut endings = published.endings();
    {
        let mut index = published.index.write().unwrap_or_else(PoisonError::into_inner);
        for owner in owners {
            index.set_used(owner, committed.used(owner));
        }
        for id in touched {
            let record = committed.get(*id).cloned();
            index.set_notice(*id, committed.notices().get(*id).cloned());
            let before = index.set(*id, record.clone());
            let standing = |record: &Arc<Record>| (record.job.state, record.job.discarded);
            moved |= before.as_ref().map(standing) != record.as_ref().map(standing);
            if record.is_none() && before.as_ref().is_some_and(|before| !before.job.state.is_terminal()) {
                // Deleted before its end.
                endings.cancelled += 1;
            }
            let Some(record) = record.filter(|record| !record.deposit) else { continue };
            arrived += u64::from(record.job.wanting && before.is_none());
            count(&mut endings, before.as_ref().map(|before| &*before.job), &record.job);
        }
    }
    *published.endings.lock().unwrap_or_else(PoisonError::into_inner) = endings;
    published.changes.send_modify(|changes| *changes += 1);
    if arrived > 0 {
        published.arrivals.send_modify(|arrivals| *arrivals += arrived);
    }
    if moved {
        published.moves.send_modify(|moves| *moves += 1);
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

fn delete_files(context: &Context, keys: &[crate::BlobKey]) {
    for key in keys {
        if let Err(error) = context.blobs.remove(key) {
            // It is a pending delete until the next commit, and an orphan ever after.
            tracing::error!(%error, "a file that is due could not be deleted");
        }
    }
}
