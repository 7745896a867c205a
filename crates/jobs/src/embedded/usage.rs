//! What is kept of jobs that are over: how much for each client and in all, so that it can be limited, and which failed
//! ones may go first.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::index::Record;
use crate::State;

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Jobs.
    pub jobs: usize,
    /// Bytes of documents; these are in memory too.
    pub documents: u64,
    /// Bytes of files.
    pub files: u64,
}

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) jobs: usize,
    pub(super) documents: u64,
    pub(super) files: u64,
}

impl Sum {
    /// What there is too much of, if there is as much as may be.
    pub(super) fn reaches(&self, caps: &Caps) -> Option<&'static str> {
        if self.jobs >= caps.jobs {
            Some("as many results are kept as may be")
        } else if self.documents >= caps.documents {
            Some("results as long as may be kept are kept")
        } else if self.files >= caps.files {
            Some("as many bytes of pictures are kept as may be")
        } else {
            None
        }
    }

    fn add(&mut self, record: &Record) {
        self.jobs += 1;
        self.documents += record.document_bytes;
        self.files += record.output_bytes;
    }

    fn take(&mut self, record: &Record) {
        self.jobs -= 1;
        self.documents -= record.document_bytes;
        self.files -= record.output_bytes;
    }
}

/// One client's.
#[derive(Clone, Debug, Default)]
struct Client {
    /// Jobs that ran, or were refused.
    results: Sum,
    /// Uploads: `jobs` counts their files.
    deposits: Sum,
    /// By the moment of their end.
    failed: BTreeSet<(u64, Uuid)>,
    /// When results and deposits expire.
    expiry: BTreeSet<(u64, Uuid)>,
}

/// Everybody's.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    all: Sum,
    clients: HashMap<String, Client>,
}

impl Usage {
    pub(super) fn list(&mut self, record: &Record) {
        let job = &record.job;
        if !job.state.is_terminal() {
            return;
        }
        self.all.add(record);
        let client = self.clients.entry(job.client.clone()).or_default();
        if record.deposit {
            client.deposits.add(record);
            client.deposits.jobs += job.outputs.len().saturating_sub(1);
        } else {
            client.results.add(record);
        }
        client.expiry.insert((job.files_expire_at.unwrap_or(0), job.id));
        if job.state == State::Failed {
            client.failed.insert((job.finished_at.unwrap_or(0), job.id));
        }
    }

    pub(super) fn unlist(&mut self, record: &Record) {
        let job = &record.job;
        let Some(client) = self.clients.get_mut(&job.client).filter(|_| job.state.is_terminal()) else {
            return;
        };
        self.all.take(record);
        if record.deposit {
            client.deposits.jobs -= job.outputs.len().saturating_sub(1);
            client.deposits.take(record);
        } else {
            client.results.take(record);
        }
        client.expiry.remove(&(job.files_expire_at.unwrap_or(0), job.id));
        client.failed.remove(&(job.finished_at.unwrap_or(0), job.id));
        if client.expiry.is_empty() {
            self.clients.remove(&job.client);
        }
    }

    /// Everybody's together.
    pub(super) fn all(&self) -> Sum {
        self.all
    }

    /// One client's results.
    pub(super) fn results(&self, client: &str) -> Sum {
        self.clients.get(client).map_or_else(Sum::default, |client| client.results)
    }

    /// One client's uploads; `jobs` counts files.
    pub(super) fn deposits(&self, client: &str) -> Sum {
        self.clients.get(client).map_or_else(Sum::default, |client| client.deposits)
    }

    /// The failed job of a client's that ended first.
    pub(super) fn oldest_failed(&self, client: &str) -> Option<Uuid> {
        self.clients.get(client)?.failed.first().map(|(_, id)| *id)
    }

    /// The client that has the most failed jobs.
    pub(super) fn most_failed(&self) -> Option<&str> {
        let client = self.clients.iter().max_by_key(|(_, client)| client.failed.len());
        client.filter(|(_, client)| !client.failed.is_empty()).map(|(name, _)| name.as_str())
    }

    /// When something of a client's is over first (unix ms); of anybody's for `None`.
    pub(super) fn first_end(&self, client: Option<&str>) -> Option<u64> {
        let end = |client: &Client| client.expiry.first().map(|(at, _)| *at);
        match client {
            Some(client) => self.clients.get(client).and_then(end),
            None => self.clients.values().filter_map(end).min(),
        }
    }
}
