//! A job and the small types around it: what goes in ([`NewJob`]), what is kept ([`Job`]), what a worker holds
//! ([`Claim`], [`LeaseToken`]) and what the calls answer. All moments are unix milliseconds, all spans [`Duration`]s.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Blame, BlobKey, Failure, Webhook};

/// What a caller hands in to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewJob {
    /// The job's id, chosen by the caller; a second job under a known id is refused.
    pub id: Uuid,
    /// Whose job it is: the id of an API key, or `"open"`. Its credits are counted under this name.
    pub owner: String,
    /// Whose turn it takes: jobs of different clients are claimed in turn, and what is kept is limited for each. The empty
    /// text is the owner's.
    pub client: String,
    /// Jobs of a higher one are claimed before all jobs of lower ones; 0 is usual.
    pub priority: i16,
    /// What to compute; opaque here.
    pub payload: Value,
    /// The files the payload speaks of. Each must be stored already; each is deleted once the job is over, unless
    /// another job still names it.
    pub inputs: Vec<BlobKey>,
    /// Whether inputs have still to be fetched: the job waits, and is not claimed before
    /// [`supply`](crate::JobStore::supply).
    pub wanting: bool,
    /// How much work it is, in a unit that is the same for all jobs; 0 (not known) counts as 1. Clients share what is done by
    /// it, and a worker can ask for a job that costs no more than so much.
    pub cost: u64,
    /// How many credits the owner has in all, if they are counted: the job takes one, and gives it back if it fails.
    pub credits: Option<u64>,
    /// The client's own name for this submission, if it may come more than once.
    pub idempotency: Option<Idempotency>,
    /// Where its end is to be told, if anywhere.
    pub webhook: Option<Webhook>,
}

/// What makes a submission that comes again the same one: for as long as the job is known, the same key of the same client
/// leads to it, and the digest tells whether the same is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's word for it.
    pub key: String,
    /// What was asked for, hashed.
    pub digest: String,
}

/// Which jobs to list: of one client, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whose jobs.
    pub owner: String,
    /// Whose turns they take.
    pub client: String,
    /// Only jobs in this state.
    pub state: Option<State>,
    /// Only jobs behind this place, which is that of the last job of the page before.
    pub after: Option<Place>,
    /// How many at most.
    pub limit: usize,
}

/// A job's place in a list that is ordered by submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it was submitted, unix ms.
    pub submitted_at: u64,
    /// Which of those that were submitted at the same moment.
    pub id: Uuid,
}

/// Where a job stands. It moves to the right only, except that an interrupted job goes back to the queue once, and a
/// released one whenever it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Accepted and waiting.
    Queued,
    /// A worker has it under a lease.
    Processing,
    /// Over: there is a result.
    Completed,
    /// Over: there is an error.
    Failed,
}

impl State {
    /// Whether the job is over. A terminal state never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// The word on the wire: `QUEUED`, `PROCESSING`, `COMPLETED` or `FAILED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The id it was submitted under.
    pub id: Uuid,
    /// Whose job it is.
    pub owner: String,
    /// Whose turn it takes.
    #[serde(default)]
    pub client: String,
    /// Before which other waiting jobs it is claimed.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub priority: i16,
    /// Where it stands.
    pub state: State,
    /// What to compute; `null` once the job is over.
    pub payload: Value,
    /// Whether inputs have still to be fetched.
    #[serde(default)]
    pub wanting: bool,
    /// How much work it is; 0 where that is not known.
    #[serde(default)]
    pub cost: u64,
    /// Whether it holds a credit of its owner's.
    #[serde(default)]
    pub charged: bool,
    /// The files it reads; empty once the job is over (they are deleted then).
    pub inputs: Vec<BlobKey>,
    /// When it was accepted, unix ms.
    pub submitted_at: u64,
    /// When its present (or last) run began, unix ms. `None` while it waits.
    pub started_at: Option<u64>,
    /// When it became terminal, unix ms.
    pub finished_at: Option<u64>,
    /// The first moment at which it is gone, unix ms. `None` until it is terminal: a job that waits or runs never
    /// expires.
    pub expires_at: Option<u64>,
    /// The first moment at which its output files are gone, unix ms; not before `expires_at`. `None` until it is over.
    pub files_expire_at: Option<u64>,
    /// How often it had to be begun again after an interruption: 0 or 1.
    pub retry_count: u32,
    /// What the worker handed in, when COMPLETED.
    pub result: Option<Value>,
    /// The files of the result, when COMPLETED.
    pub outputs: Vec<BlobKey>,
    /// Why there is no result, when FAILED. (Stored under the name it had as a text.)
    #[serde(default, rename = "error")]
    pub failure: Option<Failure>,
    /// Whether somebody asked for it to be stopped.
    pub cancel_requested: bool,
    /// The client's own name for the submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Where its end is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Whether it was deleted while it ran: nobody sees it any more, and it goes when its worker lets go of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discarded: bool,
}

/// What is not written down.
fn is_usual(priority: &i16) -> bool {
    *priority == 0
}

impl Job {
    /// A job that waits, as it is accepted at `now` (unix ms).
    pub fn queued(new: NewJob, now: u64) -> Self {
        Self {
            id: new.id,
            client: if new.client.is_empty() { new.owner.clone() } else { new.client },
            owner: new.owner,
            priority: new.priority,
            state: State::Queued,
            payload: new.payload,
            wanting: new.wanting,
            cost: new.cost,
            charged: new.credits.is_some(),
            inputs: new.inputs,
            submitted_at: now,
            started_at: None,
            finished_at: None,
            expires_at: None,
            files_expire_at: None,
            retry_count: 0,
            result: None,
            outputs: Vec::new(),
            failure: None,
            cancel_requested: false,
            idempotency: new.idempotency,
            webhook: new.webhook,
            discarded: false,
        }
    }

    /// Where it stands in a list by submission.
    pub fn place(&self) -> Place {
        Place { submitted_at: self.submitted_at, id: self.id }
    }

    /// The reason of a FAILED job.
    pub fn error(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.reason.as_str())
    }

    /// Whose doing it is that a job is FAILED.
    pub fn blame(&self) -> Option<Blame> {
        self.failure.as_ref().map(|failure| failure.blame)
    }

    /// From submission to the beginning of the present (or last) run; `None` if it was never begun.
    pub fn queue_time(&self) -> Option<Duration> {
        Some(between(self.submitted_at, self.started_at?))
    }

    /// From the beginning of the last run to its end; `None` until the job is over, or if it was never begun.
    pub fn inference_time(&self) -> Option<Duration> {
        Some(between(self.started_at?, self.finished_at?))
    }

    /// From submission to the end; `None` until the job is over.
    pub fn total_time(&self) -> Option<Duration> {
        Some(between(self.submitted_at, self.finished_at?))
    }
}

fn between(from: u64, to: u64) -> Duration {
    Duration::from_millis(to.saturating_sub(from))
}

/// A job in a worker's hands, with the proof that it is in these hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The job, PROCESSING.
    pub job: Arc<Job>,
    /// To be shown with every heartbeat and with the end.
    pub token: LeaseToken,
}

/// Proof of one claim. A job that was claimed again, finished or interrupted since answers to another token or none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// The job.
    pub id: Uuid,
    /// The claim, made at random.
    pub claim: Uuid,
}

/// What a heartbeat is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Go on; the lease is renewed.
    Continue,
    /// Somebody asked for this job to be stopped: stop and call [`fail`](crate::JobStore::fail). The lease is renewed.
    Cancel,
    /// The job is not this worker's any more: stop and drop the work.
    Lost,
}

/// What became of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was still waiting and is FAILED now, with [`CANCELLED`](crate::CANCELLED) as its error.
    Cancelled,
    /// It runs; its worker learns of it with the next heartbeat.
    Requested,
    /// It was over already; nothing changed.
    AlreadyOver,
    /// There is no such job.
    Unknown,
}

/// How many jobs are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub queued: usize,
    /// In a worker's hands.
    pub processing: usize,
    /// Over, with a result, and not yet swept away.
    pub completed: usize,
    /// Over, with an error, and not yet swept away.
    pub failed: usize,
}

/// What has become of jobs since the home was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// Ended with a result.
    pub completed: u64,
    /// Ended with an error of their own.
    pub failed: u64,
    /// Stopped because somebody asked for it.
    pub cancelled: u64,
    /// Interrupted for the second time.
    pub interrupted: u64,
    /// Back in the queue after an interruption.
    pub retried: u64,
    /// Given back by their worker.
    pub released: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_words_of_the_wire() {
        for state in [State::Queued, State::Processing, State::Completed, State::Failed] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.is_terminal(), matches!(state.as_str(), "COMPLETED" | "FAILED"));
        }
    }
}
