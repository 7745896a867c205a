//! The model hub: which weights there are, fetching them, checking them, removing them.
//!
//! Files go into the cache layout that every Hugging Face client shares (`HF_HOME`, else `~/.cache/huggingface`), so what
//! another tool has already downloaded is found and what is downloaded here serves other tools. `HF_ENDPOINT` names
//! another hub, `HF_TOKEN` authorises, `HF_HUB_OFFLINE=1` forbids the network. Where the cache is, and how it is laid out, is
//! `hf-hub`'s knowledge. The transfer is ours: that client (0.5) makes paths of whatever a hub announces, so that a bad mirror
//! could write any file. Here every name is checked before it becomes a path, and every file before it gets its name.

mod cache;
mod manifest;
mod pull;
mod record;
mod size;
mod transport;

pub use cache::{Hub, Verdict};
pub use manifest::{Manifest, manifest, manifests};
pub use pull::{PullProgress, Quiet};
pub use size::Size;

use std::path::PathBuf;

/// Why a model file is not there or not right. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The network may not be used and the file is not in the cache.
    #[error(
        "{name}: not in the model cache, and HF_HUB_OFFLINE is set; unset it or copy the file into {cache}"
    )]
    Offline {
        /// The manifest's name.
        name: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// The hub wants a token or refuses this one.
    #[error(
        "{name}: the hub answered {status} for {repository}; accept its licence on the hub and set HF_TOKEN to a token that may read it"
    )]
    Forbidden {
        /// The manifest's name.
        name: String,
        /// The HTTP status, 401 or 403.
        status: u16,
        /// The repository.
        repository: String,
    },
    /// The hub does not have the file.
    #[error(
        "{name}: the hub has no {file} in {repository}; the repository may have moved, put the file's path into the profile instead"
    )]
    Missing {
        /// The manifest's name.
        name: String,
        /// Path inside the repository.
        file: String,
        /// The repository.
        repository: String,
    },
    /// Too many attempts failed; what arrived so far is kept for the next one.
    #[error(
        "{name}: download failed after {attempts} attempts ({reason}); run the same command again to resume"
    )]
    Interrupted {
        /// The manifest's name.
        name: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        reason: String,
    },
    /// The hub is reached over plain HTTP, where anybody on the way can exchange what it sends.
    #[error(
        "HF_ENDPOINT reaches {host} over plain http; use https, or set HF_ENDPOINT_INSECURE=1 to take what comes"
    )]
    Insecure {
        /// The hub's host.
        host: String,
    },
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT must be the URL of a hub, such as https://huggingface.co")]
    Endpoint,
    /// The token holds characters that cannot be sent.
    #[error("HF_TOKEN holds characters that no token has; copy it again")]
    Token,
    /// A name in the list that cannot be a path.
    #[error("{name}: {what:?} cannot be the name of a repository, revision or file")]
    Name {
        /// The manifest's name.
        name: String,
        /// The bad one.
        what: String,
    },
    /// What the hub says of the file cannot be used.
    #[error("{name}: {reason}; nothing was written. Is HF_ENDPOINT a hub that can be trusted?")]
    Announcement {
        /// The manifest's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The hub offers other bytes than before, or than are known.
    #[error(
        "{name}: the hub offers other bytes (SHA-256 {found}) than {known} ({expected}); nothing was fetched. {remedy}"
    )]
    Changed {
        /// The manifest's name.
        name: String,
        /// Where the other hash stands.
        known: String,
        /// The known SHA-256.
        expected: String,
        /// The announced one.
        found: String,
        /// What to do if the change is meant.
        remedy: String,
    },
    /// The lock file cannot be read.
    #[error("{path}: {reason}; mend it, or remove it to accept what the hub offers now")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes are not what was announced, twice.
    #[error(
        "{name}: the file is damaged (expected {expected}, found {found}); it was removed, pull it again"
    )]
    Damaged {
        /// The manifest's name.
        name: String,
        /// The announced size or hash.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// A file in the cache is not what it should be.
    #[error(
        "{name}: {path} is damaged (SHA-256 {expected} expected, {found} found); run `material-transfer models remove {name}`, \
         then `material-transfer models pull {name}`"
    )]
    Spoilt {
        /// The manifest's name.
        name: String,
        /// The file.
        path: PathBuf,
        /// The known SHA-256.
        expected: String,
        /// That of the file.
        found: String,
    },
    /// The disk is too small for what is to be downloaded.
    #[error(
        "not enough room in {folder}: {needed} bytes to download, {available} free; free some space or set HF_HOME to another disk"
    )]
    DiskSpace {
        /// The cache folder.
        folder: PathBuf,
        /// Bytes still to be downloaded.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// The cache cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
