//! What can go wrong with weights and networks, each said so that the person at the keyboard knows what to do.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a weight file or of a network's arithmetic.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or is damaged.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong and what helps.
        reason: String,
    },
    /// A tensor that the network needs is not in the file.
    #[error("{origin}: tensor `{name}` is missing; is this the right file for this network?")]
    Missing {
        /// File and network.
        origin: String,
        /// Full name of the tensor.
        name: String,
    },
    /// A tensor has other dimensions than the network.
    #[error(
        "{origin}: tensor `{name}` has shape {got:?} but the network needs {want:?}; check the profile's dimensions"
    )]
    Shape {
        /// File and network.
        origin: String,
        /// Full name of the tensor.
        name: String,
        /// Shape in the file.
        got: Vec<usize>,
        /// Shape by the network's configuration.
        want: Vec<usize>,
    },
    /// Tensors nobody asked for: the file belongs to a larger or another network.
    #[error(
        "{origin}: {count} tensors are not part of the network ({names}); check the profile's dimensions"
    )]
    Extra {
        /// File and network.
        origin: String,
        /// How many.
        count: usize,
        /// The first few names.
        names: String,
    },
    /// The file is sound, but of a kind this program does not run.
    #[error("{origin}: {reason}")]
    Unsupported {
        /// The file.
        origin: String,
        /// Which kind, and what to use instead.
        reason: String,
    },
    /// A configuration that describes no network.
    #[error("configuration of {network}: {reason}")]
    Config {
        /// Which network.
        network: &'static str,
        /// The field and what it must be.
        reason: String,
    },
    /// An operation on tensors failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    pub(crate) fn file(file: &Path, reason: impl Into<String>) -> Self {
        Self::File { file: file.to_path_buf(), reason: reason.into() }
    }
}
