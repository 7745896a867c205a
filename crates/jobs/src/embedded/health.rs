//! Whether the disk can be relied on: what went wrong last, and a look from time to time whether it still is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::blob_dir::BlobDir;
use crate::{Error, Result};

/// How long a look may take before the disk counts as hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong, if anything is.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    trouble: Option<String>,
    /// There is no way back from this one.
    stopped: bool,
}

impl Health {
    fn set(&self, trouble: Option<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped || state.trouble == trouble {
            return;
        }
        match &trouble {
            Some(trouble) => tracing::error!(trouble, "nothing new is taken until the disk is well again"),
            None => tracing::info!("the disk is well again"),
        }
        state.trouble = trouble;
    }

    /// Notes what became of a write; a success by itself says nothing, for it may have been a small one.
    pub(super) fn note<T>(&self, outcome: &Result<T>) {
        if let Err(error) = outcome
            && error.is_disk()
        {
            self.set(Some(error.to_string()));
        }
    }

    /// Notes what a thorough look said.
    pub(super) fn looked(&self, outcome: &Result<()>) {
        self.set(outcome.as_ref().err().map(ToString::to_string));
    }

    /// Notes that the disk does not answer.
    pub(super) fn hung(&self) {
        let seconds = PATIENCE.as_secs();
        self.set(Some(format!("the disk of the data directory has not answered for {seconds} s; check it")));
    }

    /// Notes that the store has broken down for good.
    pub(super) fn stopped(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        state.trouble = Some("the job store has stopped because of a fault; restart the server".to_owned());
    }

    /// What is wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    /// For what needs the disk: the trouble as an error, or too little room.
    pub(super) fn require(&self, blobs: &BlobDir, reserve: u64) -> Result<()> {
        match self.trouble() {
            Some(reason) => Err(Error::Unwell { reason }),
            None => {
                let room = blobs.room(reserve);
                self.note(&room);
                room
            }
        }
    }
}
