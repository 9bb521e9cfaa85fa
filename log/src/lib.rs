//! The embedded durable log: typed streams of Arrow rows that are there, in order, once, after they were
//! acknowledged.
//!
//! A [`Log`] owns one data directory. Rows of a stream live in partitions; a row's identity is
//! (stream, partition, offset), offsets contiguous from 0. A [`Commit`] is atomic and may hold rows of any
//! streams, cursor moves and named values together; [`Log::commit`] answers once all of it is durable.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, Float64Array, RecordBatch};
//! use thermocline_log::{Commit, Log, LogOptions, StreamSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let rows = RecordBatch::try_from_iter([("celsius", Arc::new(Float64Array::from(vec![20.5, 21.0])) as ArrayRef)])?;
//! let log = Log::open(dir.path(), LogOptions::default())?;
//! let stream = log.create_stream(StreamSpec::new("readings", rows.schema())).await?;
//! let mut commit = Commit::new();
//! commit.append(stream.id(), rows);
//! log.commit(commit).await?; // durable from here on
//!
//! let cursor = log.cursor("report", stream.id(), 0).unwrap_or(0);
//! let mut reader = log.reader(stream.id(), 0, cursor, None)?;
//! while let Some(rows) = reader.next(1024)? {
//!     let mut commit = Commit::new();
//!     commit.move_cursor("report", stream.id(), 0, rows.end_offset());
//!     log.commit(commit).await?;
//! }
//! assert_eq!(log.cursor("report", stream.id(), 0), Some(2));
//! # Ok(())
//! # }
//! ```
//!
//! A commit whose answer was lost can be made again without storing it twice: [`Commit::idempotency_key`],
//! [`Commit::producer`].
//!
//! Every file is described byte by byte in `docs/log-format.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapt;
#[cfg(test)]
mod arbitrary;
mod backup;
mod catalog;
mod clock;
mod commit;
mod condition;
mod contain;
mod crc;
mod disk;
mod error;
mod evolution;
mod examine;
mod fields;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hooked_disk;
mod idempotency;
mod inspect;
mod intake;
mod ipc;
mod journal;
mod log;
mod metadata;
mod murmur2;
mod open;
mod options;
mod partition;
mod read_only;
mod retention;
mod route;
mod sealer;
mod segment;
mod shared;
#[cfg(test)]
mod simulation;
mod space;
mod state_file;
mod stream;
mod surroundings;
mod verify;

pub use crate::backup::{BackupReport, CopyProgress, backup, is_backup, restore, verify_backup};
pub use crate::clock::{Clock, ManualClock, SystemClock};
pub use crate::commit::{Commit, OffsetRange, Receipt};
pub use crate::condition::RowCondition;
pub use crate::disk::{DirEntry, Disk, DiskFile, DiskSpace, OsDisk};
pub use crate::error::{Error, ErrorClass, Result};
pub use crate::hooked_disk::{DiskHooks, DiskOp, HookedDisk};
pub use crate::inspect::{Inspection, PartitionInspection, StreamInspection, inspect};
pub use crate::log::{Log, LogStats};
pub use crate::options::{Durability, LogOptions};
pub use crate::partition::{PartitionReader, PartitionSnapshot, Rows, SegmentInfo, SelectedRows, SelectiveReader};
pub use crate::stream::{Retention, Stream, StreamId, StreamSpec};
pub use crate::verify::{Damage, verify};
