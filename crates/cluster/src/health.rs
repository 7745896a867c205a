//! Whether database and object store can be relied on: what went wrong last, until a look finds them well again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jobs::Result;

/// What is wrong, if anything is.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    trouble: Option<String>,
    /// Whether an upload failed, so that only an upload can show that all is well again.
    uploads: bool,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an error, if it is one of the services'. A success of one call says nothing about the other service.
    pub(crate) fn note<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome
            && error.is_disk()
        {
            self.set(Some(error.to_string()));
        }
        outcome
    }

    /// The same for an upload.
    pub(crate) fn note_upload<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.as_ref().is_err_and(jobs::Error::is_disk) {
            self.state().uploads = true;
        }
        self.note(outcome)
    }

    /// Whether a look has to upload something.
    pub(crate) fn uploads_failed(&self) -> bool {
        self.state().uploads
    }

    /// Notes what a look at both services said.
    pub(crate) fn looked(&self, outcome: &Result<()>) {
        if outcome.is_ok() {
            self.state().uploads = false;
        }
        self.set(outcome.as_ref().err().map(ToString::to_string));
    }

    fn set(&self, trouble: Option<String>) {
        let mut state = self.state();
        if state.trouble.is_some() != trouble.is_some() {
            match &trouble {
                Some(trouble) => tracing::error!(trouble, "nothing new is taken until this is well again"),
                None => tracing::info!("database and object store are well again"),
            }
        }
        state.trouble = trouble;
    }

    /// What is wrong.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }
}
