//! What can go wrong in a transfer, told to the person who asked for it.

use pixels::PictureError;

/// Why a transfer has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A given picture cannot be used; `field` is the request's name for it (`subject_image`, `material_image`).
    #[error("{field}: {source}")]
    Picture {
        /// The parameter that carried the picture.
        field: &'static str,
        /// What is wrong with it.
        source: PictureError,
    },
    /// What is asked for cannot be done with these pictures; `field` is the request's name for what is to be changed.
    #[error("{field}: {message}")]
    Unfit {
        /// The parameter.
        field: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// The caller cancelled; nothing was produced.
    #[error("the transfer was cancelled")]
    Cancelled,
    /// The profile or its weights cannot be used as they are; the text names the file and the remedy.
    #[error("{0}")]
    Profile(String),
    /// The asked-for device is not there or not part of this build; the text says what to do.
    #[error("{0}")]
    Device(String),
    /// A tensor operation failed (out of memory, a device error): a fault of ours or of the machine.
    #[error("computation failed: {0}")]
    Compute(#[from] candle_core::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl From<networks::Error> for Error {
    fn from(error: networks::Error) -> Self {
        match error {
            networks::Error::Tensor(error) => Self::Compute(error),
            other => Self::Profile(other.to_string()),
        }
    }
}

impl From<diffusion::Error> for Error {
    fn from(error: diffusion::Error) -> Self {
        match error {
            diffusion::Error::Stopped => Self::Cancelled,
            diffusion::Error::Tensor(error) => Self::Compute(error),
            diffusion::Error::Denoiser(source) => match source.downcast::<networks::Error>() {
                Ok(error) => Self::from(*error),
                Err(other) => Self::Compute(candle_core::Error::wrap(other)),
            },
            error @ diffusion::Error::Invalid(_) => Self::Profile(error.to_string()),
        }
    }
}
