//! Why the server cannot be set up or go on.

use fetch::SetupError;

/// Why the server cannot be set up or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] jobs::Error),
    /// The fetcher cannot be made.
    #[error(transparent)]
    Fetch(#[from] SetupError),
    /// The count of credits of an earlier version cannot be read.
    #[error(
        "cannot read {path}: {source}; restore it from a backup, or remove it to give all keys their credits anew"
    )]
    Ledger {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// As configured.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The signals that end the server cannot be received.
    #[error("cannot wait for SIGTERM and SIGINT: {0}")]
    Signals(std::io::Error),
    /// There is a database in the settings, and no support for one in this program.
    #[error(
        "this program was built without support for a database; build it with `--features cluster`, or take the setting \
         `database` away"
    )]
    NoCluster,
    /// No worker could be started.
    #[error("no worker is running: {0}")]
    Worker(String),
}
