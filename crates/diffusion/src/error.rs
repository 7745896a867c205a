//! What can go wrong between a first noise and a finished sample.

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's [`SamplingObserver`](crate::SamplingObserver) asked to stop; nothing was produced.
    #[error("sampling was stopped before it finished")]
    Stopped,
    /// A sigma, a shape or a parameter that no sampler can use; the text says which and what to do.
    #[error("{0}")]
    Invalid(String),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The denoiser itself failed.
    #[error("the denoiser failed: {0}")]
    Denoiser(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an error of the denoiser's own kind.
    pub fn denoiser(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Denoiser(source.into())
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}
