//! The embedded durable log: typed streams of Arrow rows that are there, in order, once, after they were
//! acknowledged.
//!
//! A [`Log`] owns one data directory. Rows of a stream live in partitions; a row's identity is
//! (stream, partition, offset), offsets contiguous from 0. A [`Commit`] is atomic and may hold rows of any
//! streams, cursor moves and named values together; [`Log::commit`] answers once all of it is durable.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod catalog;
mod clock;
mod commit;
mod disk;
mod error;
mod fields;
mod intake;
mod ipc;
mod journal;
mod log;
mod metadata;
mod murmur2;
mod open;
mod options;
mod partition;
mod retention;
mod route;
mod sealer;
mod segment;
mod shared;
mod stream;

pub use crate::clock::{Clock, ManualClock, SystemClock};
pub use crate::commit::{Commit, OffsetRange, Receipt};
pub use crate::disk::{DirEntry, Disk, DiskFile, OsDisk};
pub use crate::error::{Error, ErrorClass, Result};
pub use crate::log::{Log, LogStats};
pub use crate::options::{Durability, LogOptions};
pub use crate::partition::{PartitionReader, PartitionSnapshot, Rows, SegmentInfo};
pub use crate::stream::{Retention, Stream, StreamId, StreamSpec};
