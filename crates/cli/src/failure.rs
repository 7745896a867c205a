//! Why a command did not do what it was asked for, and the exit code that says so to scripts.

use std::fmt;
use std::process::ExitCode;

/// What a command ends with when it is not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The person can put it right: an option, a picture, a profile. Exit code 2.
    Input(String),
    /// The machine's fault or ours. Exit code 1.
    Fault(anyhow::Error),
    /// Stopped by Ctrl-C. Exit code 130, which is what shells expect of a program ended by SIGINT.
    Cancelled,
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) => 2,
            Self::Fault(_) => 1,
            Self::Cancelled => 130,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) => write!(f, "error: {message}"),
            Self::Fault(error) => write!(f, "fault: {error:#}"),
            Self::Cancelled => write!(f, "cancelled: nothing was written"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Fault(error)
    }
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Self {
        use pipeline::Error;
        match error {
            Error::Cancelled => Self::Cancelled,
            Error::Picture { .. } | Error::Profile(_) | Error::Device(_) => Self::Input(error.to_string()),
            Error::File { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::Input(error.to_string())
            }
            other => Self::Fault(other.into()),
        }
    }
}
