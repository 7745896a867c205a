//! The model hub: which weights there are, fetching them, checking them, removing them.
//!
//! Files go into the cache layout that every Hugging Face client shares (`HF_HOME`, else `~/.cache/huggingface`), so what
//! another tool has already downloaded is found and what is downloaded here serves other tools. `HF_ENDPOINT` names
//! another hub, `HF_TOKEN` authorises, `HF_HUB_OFFLINE=1` forbids the network. The transfer itself is `hf-hub`'s;
//! retries, checks of size and SHA-256, disk space and plain words for refusals are ours.

mod cache;
mod manifest;
mod pull;
mod size;

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
