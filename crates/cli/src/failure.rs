//! Why a command did not do what it was asked for, and the exit code that says so to scripts.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use pipeline::hub::HubError;

/// What a command ends with when it is not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The person can put it right: an option, a picture, a profile, a model's licence. Exit code 2.
    Input(String),
    /// The machine's fault or ours. Exit code 1.
    Fault(anyhow::Error),
    /// Stopped by Ctrl-C. Exit code 130, which is what shells expect of a program ended by SIGINT.
    Cancelled,
    /// A download stopped by Ctrl-C. Exit code 130 as well.
    PullStopped,
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) => 2,
            Self::Fault(_) => 1,
            Self::Cancelled | Self::PullStopped => 130,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // All lines begin below the first one's words.
            Self::Input(message) => write!(f, "error: {}", message.replace('\n', "\n       ")),
            Self::Fault(error) => write!(f, "fault: {error:#}"),
            Self::Cancelled => write!(f, "cancelled: nothing was written"),
            Self::PullStopped => {
                write!(f, "stopped: what has arrived is kept, the same command goes on from there")
            }
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
            Error::File { ref source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::Input(error.to_string())
            }
            other => Self::Fault(other.into()),
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Offline { .. }
            | HubError::Forbidden { .. }
            | HubError::Missing { .. }
            | HubError::DiskSpace { .. }
            | HubError::Insecure { .. }
            | HubError::Endpoint
            | HubError::Token
            | HubError::Name { .. }
            | HubError::Changed { .. }
            | HubError::Lock { .. }
            | HubError::Spoilt { .. } => Self::Input(error.to_string()),
            HubError::File { ref source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    Self::Input(error.to_string())
                }
                _ => Self::Fault(error.into()),
            },
            HubError::Interrupted { .. } | HubError::Damaged { .. } | HubError::Announcement { .. } => {
                Self::Fault(error.into())
            }
        }
    }
}
