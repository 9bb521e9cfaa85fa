//! What can go wrong at the doors, with what was expected, what was found and where.

use std::path::PathBuf;

use thermocline_log::ErrorClass;

use crate::connector::OptionProblem;

/// Result of a gateway operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the gateway. Causes are kept, never flattened to text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A whole body or file that cannot be read row by row (no header, not Arrow, …); nothing of it was stored.
    #[error("cannot read it as {format}: {reason}")]
    Malformed {
        /// The format it was read as.
        format: &'static str,
        /// What was expected and found, and where.
        reason: String,
    },
    /// More rows of one body were malformed than are kept; nothing of it was stored.
    #[error("more than {limit} rows are malformed, nothing was stored; the first: line {line}: {reason}")]
    TooManyRejected {
        /// How many malformed rows one body may have.
        limit: usize,
        /// Line of the first malformed row.
        line: u64,
        /// Why the first one was rejected.
        reason: String,
    },
    /// A body grew beyond its limit, also when decompressed.
    #[error("the body has more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// All bodies in flight together are at their bound.
    #[error("the bodies being read are at their bound of {limit_bytes} bytes; try again")]
    Busy {
        /// The bound.
        limit_bytes: u64,
    },
    /// Options of a connector that do not make sense.
    #[error("{}", display_problems(.0))]
    Options(Vec<OptionProblem>),
    /// The position a connector committed cannot be read.
    #[error("the position {key:?} of a connector is damaged: {source}")]
    Position {
        /// Key of the position in the log.
        key: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, as a verb (`open`, `read`).
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A Parquet file could not be read.
    #[error("parquet file {path}: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The log refused.
    #[error(transparent)]
    Log(#[from] thermocline_log::Error),
    /// Arrow refused.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A worker thread ended without a result.
    #[error("a worker of the gateway stopped: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Malformed { .. } | Self::TooManyRejected { .. } | Self::TooLarge { .. } | Self::Options(_) => {
                ErrorClass::User
            }
            Self::Busy { .. } | Self::Io { .. } | Self::Parquet { .. } => ErrorClass::External,
            Self::Log(error) => error.class(),
            Self::Position { .. } | Self::Arrow(_) | Self::Worker(_) => ErrorClass::Internal,
        }
    }

    /// Whether the same call may succeed later without a restart.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Log(error) => error.is_retryable(),
            _ => false,
        }
    }
}

fn display_problems(problems: &[OptionProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
