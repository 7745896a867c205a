//! Whose turn it is: a line of waiting jobs for each client, and among the clients the one that was served longest ago.
//! With one client that is first come, first served; with several none waits for more than one job of each other.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::index::Record;

/// One client's waiting jobs in their order; `true` for those that still want inputs.
type Line = BTreeMap<u64, (Uuid, bool)>;

/// The waiting jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct FairQueue {
    lines: HashMap<String, Line>,
    /// The last claim of each client that was served.
    served: HashMap<String, u64>,
}

/// For how many claims it is remembered who was served; a client who was served before that counts as new.
const REMEMBERED: u64 = 10_000;

impl FairQueue {
    pub(super) fn insert(&mut self, record: &Record) {
        let line = self.lines.entry(record.job.client.clone()).or_default();
        line.insert(record.seq, (record.job.id, record.job.wanting));
    }

    pub(super) fn remove(&mut self, record: &Record) {
        if let Some(line) = self.lines.get_mut(&record.job.client) {
            line.remove(&record.seq);
            if line.is_empty() {
                self.lines.remove(&record.job.client);
            }
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
        let firsts = self.lines.iter().filter_map(|(client, line)| {
            let (seq, id) = ready(line)?;
            Some((self.rank(client, seq), id))
        });
        firsts.min().map(|(_, id)| id)
    }

    /// The job that has waited longest.
    pub(super) fn first(&self) -> Option<Uuid> {
        let firsts = self.lines.values().filter_map(|line| line.first_key_value());
        firsts.min_by_key(|(seq, _)| **seq).map(|(_, (id, _))| *id)
    }

    /// How many waiting jobs come before this one if nothing else is submitted.
    pub(super) fn position(&self, record: &Record) -> usize {
        let Some(own) = self.lines.get(&record.job.client) else { return 0 };
        let rank =
            |client: &str, line: &Line| line.first_key_value().map(|(first, _)| self.rank(client, *first));
        let (before, mine) = (own.range(..record.seq).count(), rank(&record.job.client, own));
        let others = self.lines.iter().filter(|(client, _)| **client != record.job.client);
        let ahead =
            others.map(|(client, line)| line.len().min(before + usize::from(rank(client, line) < mine)));
        before + ahead.sum::<usize>()
    }

    /// The jobs that want inputs, in the order of their turns: the first of each client, then the second, and so on.
    pub(super) fn wanting(&self) -> Vec<Uuid> {
        let mut all: Vec<(usize, (Option<u64>, u64), Uuid)> = Vec::new();
        for (client, line) in &self.lines {
            for (place, (seq, (id, wanting))) in line.iter().enumerate() {
                if *wanting {
                    all.push((place, self.rank(client, *seq), *id));
                }
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, _, id)| id).collect()
    }

    pub(super) fn waiting_of(&self, client: &str) -> usize {
        self.lines.get(client).map_or(0, BTreeMap::len)
    }
}
