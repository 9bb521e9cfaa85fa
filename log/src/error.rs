//! What can go wrong in the log, classed so that a caller knows what to do next.

use std::io;
use std::path::{Path, PathBuf};

use arrow::datatypes::{Field, FieldRef};

/// Result of a log operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act on an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller asked for something that cannot be.
    User,
    /// The disk or another part of the outside failed.
    External,
    /// A defect of this crate.
    Internal,
}

/// An error of the log. Causes are kept, never flattened to text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the data directory.
    #[error("data directory {path} is in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// No stream of that name.
    #[error("no stream named {name:?}")]
    UnknownStream {
        /// The name asked for.
        name: String,
    },
    /// The stream exists with another definition.
    #[error("stream {name:?} exists with another {what}: expected {expected}, found {found}")]
    StreamMismatch {
        /// The stream.
        name: String,
        /// Which part differs (`number of partitions`, `partition key`).
        what: &'static str,
        /// What the caller asked for.
        expected: String,
        /// What the log holds.
        found: String,
    },
    /// A column of an existing stream cannot become what was asked: see [`Log::create_stream`](crate::Log::create_stream).
    #[error(
        "stream {stream:?} exists with another column {column:?}: expected {}, found {}; {allowed}",
        column_text(expected.as_deref()), column_text(found.as_deref())
    )]
    ColumnMismatch {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// What the caller asked for; `None` when it asked for no such column.
        expected: Option<FieldRef>,
        /// What the log holds; `None` when it holds no such column.
        found: Option<FieldRef>,
        /// What the column could become.
        allowed: String,
    },
    /// A column was changed after the reader was opened, and the reader's schema cannot hold the rows appended since:
    /// open another reader.
    #[error(
        "column {column:?} of stream {stream:?} was changed to {found} while it was read as {expected}; reopen the reader"
    )]
    SchemaChanged {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// What the reader was opened with.
        expected: String,
        /// What the rows hold.
        found: String,
    },
    /// Rows do not have the stream's schema.
    #[error("rows for stream {stream:?} do not fit its schema: expected {expected}, found {found}")]
    SchemaMismatch {
        /// The stream.
        stream: String,
        /// The stream's schema.
        expected: String,
        /// The schema of the rows.
        found: String,
    },
    /// A stream cannot be what it was asked to be.
    #[error("stream {name:?} cannot be created: {what}")]
    InvalidStream {
        /// The stream.
        name: String,
        /// What was expected and found.
        what: String,
    },
    /// No partition of that number.
    #[error("stream {stream:?} has {partitions} partitions, found partition {partition}")]
    UnknownPartition {
        /// The stream.
        stream: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The offset is below what retention kept.
    #[error(
        "offset {offset} of stream {stream:?} partition {partition} was removed by retention; the oldest is {oldest}"
    )]
    OffsetRemoved {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
        /// The oldest offset that is still there.
        oldest: u64,
    },
    /// Damage below the position known to be synced: acknowledged data is damaged, nothing is guessed.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Byte offset of the damage.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// The file was written by another version of the format.
    #[error("{path} has format version {found}, this build reads versions up to {expected}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Newest version that this build reads; it reads every older one too.
        expected: u16,
        /// Version found in the file.
        found: u16,
    },
    /// A copy was to be made where something is already.
    #[error("expected {path} to be an empty directory or none, found {found:?} in it")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// A copy was to be made inside of what is copied.
    #[error("expected a directory outside of {dir}, found {path}")]
    InsideItself {
        /// The directory that is copied.
        dir: PathBuf,
        /// Where the copy was to be.
        path: PathBuf,
    },
    /// A backup that was not finished, or no backup at all.
    #[error("{path} is not a complete backup: it has no file BACKUP")]
    NoBackup {
        /// The directory.
        path: PathBuf,
    },
    /// Another backup of the log is under way; one at a time.
    #[error("a backup of the log is under way already")]
    BackupRunning,
    /// The disk is full; reads go on and the log accepts rows again when there is space.
    #[error("no space left for the log in {path}")]
    Full {
        /// The data directory.
        path: PathBuf,
    },
    /// The tail is at its memory cap: the producer must slow down and try again.
    #[error("the log's memory is at its cap of {cap_bytes} bytes; try again")]
    Overloaded {
        /// The configured cap.
        cap_bytes: u64,
    },
    /// An earlier sync failed; nothing more is acknowledged until a restart.
    #[error("the log stopped after a failed write or sync and must be reopened: {reason}")]
    Poisoned {
        /// The failure that poisoned it.
        reason: String,
    },
    /// An idempotency key or a producer's name is empty or too long.
    #[error("{what}: expected 1 to {max} bytes, found {found}")]
    InvalidCommitId {
        /// Which of the two.
        what: &'static str,
        /// The most bytes.
        max: usize,
        /// The bytes found.
        found: usize,
    },
    /// An idempotency key was used for another commit; nothing of this one was stored.
    #[error("idempotency key {key:?} was used before for a commit with another fingerprint")]
    KeyReused {
        /// The key, as far as it is UTF-8.
        key: String,
    },
    /// A producer left out sequences, or went back to one that it is not known to have stored; nothing was stored.
    #[error("producer {producer:?}: expected sequence {expected}, found {found}")]
    OutOfSequence {
        /// The producer.
        producer: String,
        /// One more than its last stored sequence.
        expected: u64,
        /// The sequence of the commit.
        found: u64,
    },
    /// The log is shutting down.
    #[error("the log is closed")]
    Closed,
    /// A file operation failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried, as a verb (`open`, `write`).
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Arrow refused the rows.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet refused a segment.
    #[error("segment {path}: {source}")]
    Parquet {
        /// The segment file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: parquet::errors::ParquetError,
    },
}

/// Type and nullability of a column.
fn column_text(column: Option<&Field>) -> String {
    match column {
        None => "no such column".to_owned(),
        Some(column) if column.is_nullable() => column.data_type().to_string(),
        Some(column) => format!("{} not null", column.data_type()),
    }
}

/// Names the file and the action of a failed file operation; a full disk gets its own variant.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path },
        _ => Error::Io { action, path, source },
    }
}

/// Damage of `path` at `offset`.
pub(crate) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Error {
    Error::Corrupt { path: path.to_owned(), offset, what: what.into() }
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownStream { .. }
            | Self::StreamMismatch { .. }
            | Self::ColumnMismatch { .. }
            | Self::SchemaChanged { .. }
            | Self::SchemaMismatch { .. }
            | Self::InvalidStream { .. }
            | Self::UnknownPartition { .. }
            | Self::OffsetRemoved { .. }
            | Self::InvalidCommitId { .. }
            | Self::KeyReused { .. }
            | Self::OutOfSequence { .. }
            | Self::Locked { .. }
            | Self::NotEmpty { .. }
            | Self::InsideItself { .. }
            | Self::NoBackup { .. }
            | Self::BackupRunning
            | Self::Version { .. } => ErrorClass::User,
            Self::Corrupt { .. }
            | Self::Full { .. }
            | Self::Overloaded { .. }
            | Self::Poisoned { .. }
            | Self::Io { .. } => ErrorClass::External,
            Self::Closed | Self::Arrow(_) | Self::Parquet { .. } => ErrorClass::Internal,
        }
    }

    /// Whether the same call may succeed later without a restart.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Overloaded { .. } | Self::BackupRunning)
    }
}
