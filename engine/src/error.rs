//! What can go wrong in the engine, classed so that a caller knows what to do next.

use crate::memory::in_words;

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The pipeline's author or the caller of a query.
    User,
    /// The disk, a table's file or another part of the outside.
    External,
    /// A defect of this crate.
    Internal,
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] thermocline_log::Error),
    /// A query failed while it was planned or run.
    #[error("query {query:?}: {source}")]
    Query {
        /// Name of the continuous query.
        query: String,
        /// The cause.
        #[source]
        source: datafusion::error::DataFusionError,
    },
    /// Planning or running a part of a query failed.
    #[error(transparent)]
    DataFusion(#[from] datafusion::error::DataFusionError),
    /// An ad-hoc query has mistakes.
    #[error("{}", .0.iter().map(|d| d.message.as_str()).collect::<Vec<_>>().join("; "))]
    Sql(Vec<thermocline_sql::Diagnostic>),
    /// The state of a continuous query would be over the memory limit.
    #[error(
        "query {query:?} holds {} of state, over the {} that all continuous queries may hold together{others}; what it has emitted \
         stands, and it goes on from there after a restart with more `--memory-limit`, smaller windows or fewer keys",
        in_words(*.bytes), in_words(*.limit_bytes)
    )]
    Memory {
        /// Name of the query.
        query: String,
        /// Bytes that it holds.
        bytes: u64,
        /// Bytes for the state of all continuous queries.
        limit_bytes: u64,
        /// The others that hold most, in words.
        others: String,
    },
    /// Streams feed each other in a circle.
    #[error("the queries {queries} feed each other in a circle")]
    Cycle {
        /// Names of the queries.
        queries: String,
    },
    /// A stored position, decision or snapshot cannot be read.
    #[error("stored state {name}: expected {expected}, found {found}")]
    State {
        /// Name of the value or file.
        name: String,
        /// What it should be.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A reference table cannot be read.
    #[error("table {table:?} at {path}: {source}")]
    Table {
        /// Name of the table.
        table: String,
        /// Its file.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: datafusion::error::DataFusionError,
    },
    /// A file operation failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::DataFusion(error.into())
    }
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Log(e) => match e.class() {
                thermocline_log::ErrorClass::User => ErrorClass::User,
                thermocline_log::ErrorClass::External => ErrorClass::External,
                thermocline_log::ErrorClass::Internal => ErrorClass::Internal,
            },
            Self::Query { source, .. } | Self::DataFusion(source) => match source.find_root() {
                datafusion::error::DataFusionError::Internal(_) => ErrorClass::Internal,
                datafusion::error::DataFusionError::IoError(_) => ErrorClass::External,
                _ => ErrorClass::User,
            },
            Self::Sql(_) | Self::Cycle { .. } | Self::Memory { .. } => ErrorClass::User,
            Self::Table { .. } | Self::Io { .. } | Self::State { .. } => ErrorClass::External,
        }
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Log(e) if e.is_retryable())
    }
}
