//! Whose turn it is: a line of waiting jobs for each client, and among the clients the one that was served longest ago.
//! With one client that is first come, first served; with several none waits for more than one job of each other. Jobs of a
//! higher priority come before all of that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::index::Record;

/// One client's waiting jobs in their order; `true` for those that still want inputs.
type Line = BTreeMap<u64, (Uuid, bool)>;

/// The lines of one priority, by client.
type Lines = HashMap<String, Line>;

/// The waiting jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct FairQueue {
    /// The highest priority first; none is empty, nor is a line.
    levels: BTreeMap<Reverse<i16>, Lines>,
    /// The last claim of each client that was served.
    served: HashMap<String, u64>,
}

/// For how many claims it is remembered who was served; a client who was served before that counts as new.
const REMEMBERED: u64 = 10_000;

impl FairQueue {
    pub(super) fn insert(&mut self, record: &Record) {
        let lines = self.levels.entry(Reverse(record.job.priority)).or_default();
        let line = lines.entry(record.job.client.clone()).or_default();
        line.insert(record.seq, (record.job.id, record.job.wanting));
    }

    pub(super) fn remove(&mut self, record: &Record) {
        let level = Reverse(record.job.priority);
        let Some(lines) = self.levels.get_mut(&level) else { return };
        if let Some(line) = lines.get_mut(&record.job.client) {
            line.remove(&record.seq);
            if line.is_empty() {
                lines.remove(&record.job.client);
            }
        }
        if lines.is_empty() {
            self.levels.remove(&level);
        }
    }

    /// Notes that a client's job was claimed.
    pub(super) fn served(&mut self, client: &str, turn: Option<u64>) {
        let Some(turn) = turn else { return };
        self.served.insert(client.to_owned(), turn);
        if turn.is_multiple_of(REMEMBERED) {
            self.served.retain(|_, served| *served + REMEMBERED > turn);
        }
    }

    /// What decides between clients: the last turn, then the age of the oldest job that may be taken.
    fn rank(&self, client: &str, first: u64) -> (Option<u64>, u64) {
        (self.served.get(client).copied(), first)
    }

    /// The job to be claimed next.
    pub(super) fn next(&self) -> Option<Uuid> {
        let ready =
            |line: &Line| line.iter().find(|(_, (_, wanting))| !wanting).map(|(seq, (id, _))| (*seq, *id));
        self.levels.values().find_map(|lines| {
            let firsts = lines.iter().filter_map(|(client, line)| {
                let (seq, id) = ready(line)?;
                Some((self.rank(client, seq), id))
            });
            firsts.min().map(|(_, id)| id)
        })
    }

    /// The job that has waited longest.
    pub(super) fn first(&self) -> Option<Uuid> {
        let firsts = self.levels.values().flat_map(HashMap::values).filter_map(|line| line.first_key_value());
        firsts.min_by_key(|(seq, _)| **seq).map(|(_, (id, _))| *id)
    }

    /// How many waiting jobs come before this one if nothing else is submitted.
    pub(super) fn position(&self, record: &Record) -> usize {
        let level = Reverse(record.job.priority);
        let Some(lines) = self.levels.get(&level) else { return 0 };
        let Some(own) = lines.get(&record.job.client) else { return 0 };
        let above = self.levels.range(..level).flat_map(|(_, lines)| lines.values()).map(BTreeMap::len);
        let rank =
            |client: &str, line: &Line| line.first_key_value().map(|(first, _)| self.rank(client, *first));
        let (before, mine) = (own.range(..record.seq).count(), rank(&record.job.client, own));
        let others = lines.iter().filter(|(client, _)| **client != record.job.client);
        let ahead =
            others.map(|(client, line)| line.len().min(before + usize::from(rank(client, line) < mine)));
        above.sum::<usize>() + before + ahead.sum::<usize>()
    }

    /// The jobs that want inputs, in the order of their turns: the first of each client, then the second, and so on.
    pub(super) fn wanting(&self) -> Vec<Uuid> {
        let mut all = Vec::new();
        for (level, lines) in &self.levels {
            for (client, line) in lines {
                for (place, (seq, (id, wanting))) in line.iter().enumerate() {
                    if *wanting {
                        all.push((*level, place, self.rank(client, *seq), *id));
                    }
                }
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(.., id)| id).collect()
    }

    pub(super) fn waiting_of(&self, client: &str) -> usize {
        self.levels.values().filter_map(|lines| lines.get(client)).map(BTreeMap::len).sum()
    }
}
