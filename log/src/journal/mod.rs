//! The journal: one sequence of files that holds every commit group until its rows are sealed.
//!
//! Promise: a group is in the journal entirely or not at all, and it is durable before anybody hears of it.

mod damages;
mod entry;
mod file;
mod format;
mod group;
mod idempotency_entry;
mod index;
mod queue;
mod recovery;
mod spare;
mod writer;

pub(crate) use damages::damages;
pub(crate) use entry::{Entry, RowsEntry};
pub(crate) use idempotency_entry::{KeyEntry, ProducerEntry};
pub(crate) use index::JournalIndex;
pub(crate) use queue::{Pending, Piece, PieceRows, Queue};
pub(crate) use recovery::{Frame, Recovered, recover};
pub(crate) use spare::{discard, keep, remove};
pub(crate) use writer::Writer;
#[cfg(any(test, fuzzing))]
pub(crate) use {
    file::{path_of, sequence_of},
    format::{FRAME_HEADER_BYTES, FileHeader, FrameHeader, Position},
};

/// Folder of the journal in the data directory.
pub(crate) const FOLDER: &str = "journal";
