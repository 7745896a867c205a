//! Whose turn it is: a line of waiting jobs for each client, and among the clients the one that had least of the work. This is
//! start-time fair queueing (Goyal, Vin and Cheng): a claim lasts, in virtual time, from where its client stands, or from now
//! if that is later, for as long as the job costs; the claim that begins first comes next. With one client that is first come,
//! first served; with several each gets as much work done as the others, however large its jobs are. Jobs of a higher priority come
//! before all of that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::index::Record;

/// A waiting job.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: Uuid,
    /// It still wants inputs.
    wanting: bool,
    cost: u64,
}

/// One client's waiting jobs in their order: by priority, the highest first, then as they came.
type Line = BTreeMap<(Reverse<i16>, u64), Waiting>;

/// Whose turn comes first: by priority, by the virtual time at which a claim begins, as they came.
type Turn = (Reverse<i16>, u64, u64);

/// The virtual times at which a claim begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    start: u64,
    finish: u64,
}

/// The waiting jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct FairQueue {
    lines: HashMap<String, Line>,
    /// Where the clients stand that are ahead of the virtual time.
    served: HashMap<String, u64>,
    virtual_time: u64,
}

/// Virtual time is the beginning of the last claim, and goes on by this share of its cost: so that a client with a large job
/// behind it is not kept waiting for ever by others that are new, one after the other.
const AGEING: u64 = 64;

/// Where a job stands in its client's line.
fn key(record: &Record) -> (Reverse<i16>, u64) {
    (Reverse(record.job.priority), record.seq)
}

impl FairQueue {
    pub(super) fn insert(&mut self, record: &Record) {
        let line = self.lines.entry(record.job.client.clone()).or_default();
        let (id, wanting, cost) = (record.job.id, record.job.wanting, record.job.cost.max(1));
        line.insert(key(record), Waiting { id, wanting, cost });
    }

    pub(super) fn remove(&mut self, record: &Record) {
        if let Some(line) = self.lines.get_mut(&record.job.client) {
            line.remove(&key(record));
            if line.is_empty() {
                self.lines.remove(&record.job.client);
            }
        }
    }

    /// When a client's next claim begins.
    fn start(&self, client: &str) -> u64 {
        self.served.get(client).map_or(self.virtual_time, |served| self.virtual_time.max(*served))
    }

    /// What a claim of a job is of its client's share.
    pub(super) fn service_of(&self, client: &str, cost: u64) -> Service {
        let start = self.start(client);
        Service { start, finish: start.saturating_add(cost.max(1)) }
    }

    /// Notes that a client's job was claimed.
    pub(super) fn served(&mut self, client: &str, service: Option<Service>) {
        let Some(Service { start, finish }) = service else { return };
        self.virtual_time = self.virtual_time.max(start + (finish - start) / AGEING);
        let served = self.served.entry(client.to_owned()).or_default();
        *served = finish.max(*served);
        // Whom time has caught up with is like one that is new.
        if self.served.len().is_power_of_two() {
            self.served.retain(|_, served| *served > self.virtual_time);
        }
    }

    /// The job to be claimed next if it may cost at most `most`. Nobody's jobs overtake each other.
    pub(super) fn next(&self, most: u64) -> Option<Uuid> {
        let first = |line: &Line| {
            let first = line.iter().find(|(_, job)| !job.wanting);
            first.filter(|(_, job)| job.cost <= most).map(|(key, job)| (*key, job.id))
        };
        let firsts = self.lines.iter().filter_map(|(client, line)| {
            let ((priority, seq), id) = first(line)?;
            Some((priority, self.start(client), seq, id))
        });
        firsts.min().map(|(.., id)| id)
    }

    /// All waiting jobs with their turns if nothing else is submitted.
    fn turns(&self) -> impl Iterator<Item = (Turn, &Waiting)> {
        self.lines.iter().flat_map(|(client, line)| {
            line.iter().scan(self.start(client), |next, ((priority, seq), job)| {
                let start = *next;
                *next = next.saturating_add(job.cost);
                Some(((*priority, start, *seq), job))
            })
        })
    }

    /// The job that has waited longest.
    pub(super) fn first(&self) -> Option<Uuid> {
        let all = self.lines.values().flatten();
        all.min_by_key(|((_, seq), _)| *seq).map(|(_, job)| job.id)
    }

    /// How many waiting jobs come before this one if nothing else is submitted.
    pub(super) fn position(&self, record: &Record) -> usize {
        let own = self.turns().find(|(_, job)| job.id == record.job.id).map(|(turn, _)| turn);
        self.turns().filter(|(turn, _)| Some(*turn) < own).count()
    }

    /// The jobs that want inputs, in the order of their turns.
    pub(super) fn wanting(&self) -> Vec<Uuid> {
        let mut all: Vec<_> =
            self.turns().filter(|(_, job)| job.wanting).map(|(turn, job)| (turn, job.id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn waiting_of(&self, client: &str) -> usize {
        self.lines.get(client).map_or(0, BTreeMap::len)
    }
}
