//! Notices: the end of a job that somebody wants to be told of, kept until it is delivered or given up, whatever becomes of
//! the job meanwhile. How one is delivered is not known here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Job;

/// How many notices of one client may wait for their delivery; then no job that wants one is accepted from it.
pub const PENDING_NOTICES: usize = 1000;

/// Where the end of a job is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// Host and port of the receiver: what is slow for one notice is so for all of them.
    pub lane: String,
    /// What the URLs in the notice begin with.
    pub base: String,
}

/// One try to deliver a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// When, unix ms.
    pub at: u64,
    /// Whether the receiver took it.
    pub taken: bool,
    /// What became of it, for people.
    pub outcome: String,
}

/// The end of a job that is, or was, to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The job as it ended.
    #[serde(with = "crate::shared")]
    pub job: Arc<Job>,
    /// What was tried, the latest last.
    pub tries: Vec<Try>,
    /// When the next try is due, unix ms; `None` when there is none any more.
    pub next_at: Option<u64>,
}

impl Notice {
    /// Of a job that has ended at `now` (unix ms) and wants it to be told.
    pub(crate) fn of(job: &Arc<Job>, now: u64) -> Option<Self> {
        let wanted = job.webhook.is_some() && !job.discarded;
        wanted.then(|| Self { job: Arc::clone(job), tries: Vec::new(), next_at: Some(now) })
    }

    /// Whether the receiver took it.
    pub fn is_delivered(&self) -> bool {
        self.tries.last().is_some_and(|last| last.taken)
    }
}
