//! What can go wrong, each with what to do about it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::BlobKey;

/// The result of every call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in a job store. (`Clone`, because one failed commit is the answer to many callers.)
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// As many jobs wait as may wait.
    #[error("{limit} requests are waiting already, which is the limit of this server; try again later")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// As many jobs of one client wait as may wait.
    #[error(
        "{limit} requests of this client are waiting already, which is the limit for each; try again later"
    )]
    ClientFull {
        /// How many may wait.
        limit: usize,
    },
    /// As many results or uploads are kept as may be kept.
    #[error("{what}; try again in {} s, when the oldest expire", wait.as_secs())]
    Kept {
        /// What there is too much of.
        what: &'static str,
        /// Until there is room, as far as is known.
        wait: Duration,
    },
    /// The owner has used up its credits.
    #[error("the credits of {owner} are used up")]
    Exhausted {
        /// The owner.
        owner: String,
    },
    /// Nothing can be kept just now: the disk is full, cannot be written, or is not there any more.
    #[error("{reason}")]
    Unwell {
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// There is a job under this id already.
    #[error("there is a job {id} already; submit under a new id")]
    Duplicate {
        /// The id.
        id: Uuid,
    },
    /// The idempotency key belongs to another submission of the same client's.
    #[error("the idempotency key was used for job {id}, which was asked for something else; use a new key")]
    KeyReused {
        /// The job that was submitted under the key.
        id: Uuid,
    },
    /// The job is not in the caller's hands (any more): its lease lapsed, or it is over.
    #[error("job {id} is not leased to this worker any more; drop the work")]
    LeaseLost {
        /// The job.
        id: Uuid,
    },
    /// A job names a file that is not stored.
    #[error("the file {key} is not stored; store it before naming it")]
    MissingBlob {
        /// The file.
        key: BlobKey,
    },
    /// A text that is no file key.
    #[error("{text:?} is not the name of a stored file")]
    BadKey {
        /// The text, shortened.
        text: String,
    },
    /// Another process works in the data directory.
    #[error(
        "the data directory {} is in use by another server{}; stop that one or choose another data directory",
        dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other process, if it left its number.
        pid: Option<u32>,
    },
    /// The operating system refused a read or a write.
    #[error("cannot {action} {}: {source}; {}", path.display(), remedy(source))]
    Storage {
        /// What was tried: "write", "create" …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The file of job documents is not one, or was written by a newer version.
    #[error("{} cannot be used: {reason}; move it away (its jobs are lost) or restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A service that the home lives on does not answer, or refuses.
    #[error("{service} cannot be used: {reason}; check that it runs and can be reached, then try again")]
    Unavailable {
        /// Which: the database, or the object store.
        service: &'static str,
        /// What it said. Holds no password.
        reason: String,
    },
    /// The store is shutting down.
    #[error("the job store is closed; the server is shutting down")]
    Closed,
}

impl Error {
    /// Whether the disk (or the service in its place) is at fault and not the call: the same call may succeed later.
    pub fn is_disk(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::Unwell { .. } | Self::Unavailable { .. })
    }

    /// For `map_err`: an I/O error, with what was tried and where.
    pub(crate) fn storage(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Storage { action, path, source: Arc::new(source) }
    }
}

/// What the person can do about an I/O error.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some room there (or raise the quota) and try again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for the user the server runs as, or choose another data directory"
        }
        io::ErrorKind::NotFound
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => "choose a data directory that is a folder (or can be made one)",
        _ => "check the disk and the data directory, then try again",
    }
}
