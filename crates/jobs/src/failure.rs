//! Why a job has no result, and whose doing that was.

use serde::{Deserialize, Deserializer, Serialize};

/// The reason of a job that was cancelled.
pub const CANCELLED: &str = "Request was cancelled";

/// The reason of a job whose second run was interrupted too.
pub const INTERRUPTED: &str = "Request was interrupted twice by a restart of the server";

/// Whose doing a failure was. Answers (an HTTP status, say) follow from this, never from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The request cannot be done: a picture that cannot be read, a URL that does not answer. The same request fails again.
    Client,
    /// A fault of the server; the same request may succeed later.
    Server,
    /// It took longer than the server allows.
    Overtime,
    /// Somebody asked for it to be stopped.
    Cancelled,
    /// The process ended during both of its runs.
    Interrupted,
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A sentence for the client.
    pub reason: String,
    /// Whose doing it was.
    pub blame: Blame,
}

impl Failure {
    /// A failure for that reason.
    #[must_use]
    pub fn new(blame: Blame, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), blame }
    }

    /// A fault of the client's.
    #[must_use]
    pub fn client(reason: impl Into<String>) -> Self {
        Self::new(Blame::Client, reason)
    }

    /// A fault of the server's.
    #[must_use]
    pub fn server(reason: impl Into<String>) -> Self {
        Self::new(Blame::Server, reason)
    }

    /// What a cancelled job fails with: [`CANCELLED`].
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Blame::Cancelled, CANCELLED)
    }

    /// What a job fails with that was interrupted twice: [`INTERRUPTED`].
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(Blame::Interrupted, INTERRUPTED)
    }
}

/// Versions before 0.2 stored the sentence alone. Nobody waits for an answer to such a job any more, so of the blame only
/// what counters need is recovered.
impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Reason(String),
            Failure { reason: String, blame: Blame },
        }
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Reason(reason) if reason == CANCELLED => Self::cancelled(),
            Stored::Reason(reason) if reason == INTERRUPTED => Self::interrupted(),
            Stored::Reason(reason) => Self::server(reason),
            Stored::Failure { reason, blame } => Self { reason, blame },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_fixed_and_the_old_one_is_read() {
        let new = Failure::client("subject_image: too small");
        let stored = serde_json::json!({ "reason": "subject_image: too small", "blame": "client" });
        assert_eq!(serde_json::to_value(&new).unwrap(), stored);
        let read = |stored: serde_json::Value| serde_json::from_value::<Failure>(stored).unwrap();
        assert_eq!(read(stored), new);
        assert_eq!(read(CANCELLED.into()), Failure::cancelled());
        assert_eq!(read(INTERRUPTED.into()), Failure::interrupted());
        assert_eq!(read("Internal server error".into()), Failure::server("Internal server error"));
    }
}
