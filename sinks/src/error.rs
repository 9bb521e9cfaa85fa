//! What can go wrong on the way out.

use std::time::Duration;

/// Result of a sink operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The pipeline's author: an option, a schema.
    User,
    /// The destination or the network.
    External,
    /// A defect of this crate.
    Internal,
}

/// An error of a sink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is missing, unknown or has a wrong value.
    #[error("option {option:?}: expected {expected}, found {found}")]
    Option {
        /// The option.
        option: String,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The rows do not have the columns that the sink needs.
    #[error("the rows do not fit this sink: expected {expected}, found {found}")]
    Schema {
        /// What the sink needs.
        expected: String,
        /// What it got.
        found: String,
    },
    /// The destination could not take the rows now.
    #[error("{destination} did not accept the rows: {reason}")]
    Unavailable {
        /// Who.
        destination: String,
        /// What it said.
        reason: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// The destination refuses this sink for good (credentials, a table that does not fit); a person has to act.
    #[error("{destination} refused: {reason}")]
    Refused {
        /// Who.
        destination: String,
        /// What it said.
        reason: String,
    },
    /// Another writer moved the position of this sink in the destination.
    #[error("{destination} was written by another process: {reason}")]
    Conflict {
        /// Who.
        destination: String,
        /// What was found.
        reason: String,
    },
    /// The log could not be read or the position not be stored.
    #[error("log: {0}")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Arrow refused the rows.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Option { .. } | Self::Schema { .. } => ErrorClass::User,
            Self::Unavailable { .. } | Self::Refused { .. } | Self::Conflict { .. } | Self::Log(_) => {
                ErrorClass::External
            }
            Self::Arrow(_) => ErrorClass::Internal,
        }
    }

    /// Whether the same delivery may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Refused { .. } | Self::Conflict { .. })
    }
}
