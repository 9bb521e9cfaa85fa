//! What a data directory holds, without opening it for writing.

use std::path::Path;

use crate::error::Result;
use crate::examine;
use crate::journal::Entry;
use crate::partition::SegmentInfo;
use crate::stream::Stream;

/// What a data directory holds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The streams, by name.
    pub streams: Vec<StreamInspection>,
    /// Number of journal files.
    pub journal_files: u64,
    /// Bytes of the journal up to its last whole frame.
    pub journal_bytes: u64,
    /// Bytes behind the last whole frame that were never acknowledged; opening the log cuts them.
    pub torn_bytes: u64,
    /// Number of named values.
    pub values: u64,
    /// Number of idempotency keys that are remembered; some may be past their window.
    pub idempotency_keys: u64,
    /// Number of producers that are remembered; some may be past their window.
    pub producers: u64,
}

/// A stream of an [`Inspection`].
#[derive(Debug, Clone)]
pub struct StreamInspection {
    /// The stream's definition.
    pub stream: Stream,
    /// The partitions, in order of their numbers.
    pub partitions: Vec<PartitionInspection>,
}

/// A partition of an [`Inspection`].
#[derive(Debug, Clone)]
pub struct PartitionInspection {
    /// The partition's number.
    pub partition: u32,
    /// Offset of the oldest row kept.
    pub start_offset: u64,
    /// Offset of the first row that is in no segment.
    pub sealed_offset: u64,
    /// One past the offset of the last row.
    pub end_offset: u64,
    /// The segments, in offset order.
    pub segments: Vec<SegmentInfo>,
    /// The cursors, by name, each with the offset of its next row.
    pub cursors: Vec<(String, u64)>,
}

impl PartitionInspection {
    /// Bytes of all segments.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Tells what the log in `dir` holds. Changes nothing; the directory cannot be opened meanwhile.
///
/// # Errors
/// [`Error::Locked`](crate::Error::Locked) when a process has it open, [`Error::Corrupt`](crate::Error::Corrupt) at the
/// first damage, [`Error::Version`](crate::Error::Version), or an I/O error, also when there is no log in `dir`.
pub fn inspect(dir: impl AsRef<Path>) -> Result<Inspection> {
    let dir = dir.as_ref();
    let _hold = examine::hold(dir)?;
    let opened = examine::recover(dir)?;
    let metadata = opened.metadata.entries();
    let streams = opened.catalog.entries().into_iter().map(|entry| {
        let partitions = (0..).zip(&entry.partitions).map(|(number, partition)| {
            let (segments, _, range) = partition.at_this_instant();
            PartitionInspection {
                partition: number,
                start_offset: range.start,
                sealed_offset: segments.last().map_or(range.start, |segment| segment.end_offset),
                end_offset: range.end,
                segments,
                cursors: metadata
                    .iter()
                    .filter_map(|known| match known {
                        Entry::Cursor { name, stream, partition, next_offset }
                            if (*stream, *partition) == (entry.stream.id(), number) =>
                        {
                            Some((name.clone(), *next_offset))
                        }
                        _ => None,
                    })
                    .collect(),
            }
        });
        StreamInspection { stream: entry.stream.clone(), partitions: partitions.collect() }
    });
    let (idempotency_keys, producers) = opened.recent_commits.counts();
    Ok(Inspection {
        streams: streams.collect(),
        journal_files: opened.journal.files.len() as u64,
        journal_bytes: opened.journal.files.iter().map(|file| file.bytes).sum(),
        torn_bytes: opened.journal.torn_bytes,
        values: metadata.iter().filter(|entry| matches!(entry, Entry::Put { .. })).count() as u64,
        idempotency_keys,
        producers,
    })
}
