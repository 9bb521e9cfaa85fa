//! Readers that stay while everything else goes on.

use std::cell::RefCell;

use crate::error::Error;
use crate::partition::{PartitionReader, PartitionSnapshot};
use crate::simulation::check;
use crate::simulation::rows::{self, Level};
use crate::simulation::world::World;
use crate::stream::StreamId;

/// Most readers at a time.
const MAX_READERS: usize = 4;

#[derive(Default)]
pub(super) struct Readers {
    following: RefCell<Vec<Following>>,
    snapshots: RefCell<Vec<(StreamId, u32, PartitionSnapshot)>>,
}

struct Following {
    stream: StreamId,
    number: u32,
    /// The columns that the stream had when it was opened.
    level: Level,
    reader: PartitionReader,
}

impl Readers {
    pub(super) fn clear(&self) {
        // Taken out first: a file may go with its last reader, and readers read on in the middle of that.
        drop(self.following.take());
        drop(self.snapshots.take());
    }
}

/// Keeps one more; with too many the oldest goes, and perhaps a file with it, in the middle of which others read on.
fn keep<T>(kept: &RefCell<Vec<T>>, new: T) {
    let oldest = {
        let mut kept = kept.borrow_mut();
        kept.insert(0, new);
        if kept.len() > MAX_READERS { kept.pop() } else { None }
    };
    drop(oldest);
}

impl World {
    /// A reader, new or not, reads on; or a snapshot is taken, or one that was taken earlier is looked at.
    pub(super) fn read(&self) {
        let Some(log) = self.log() else { return };
        let Some((stream, number, end)) = self.draw_partition() else { return };
        let (choice, offset, max_rows) = {
            let mut random = self.random.borrow_mut();
            (random.below(10), random.below(end + 2), random.pick(&[1, 3, 50]))
        };
        match choice {
            0..4 => {
                let level = self.level(stream);
                let reader = log.reader(stream, number, offset, None).unwrap();
                self.read_on(Following { stream, number, level, reader }, max_rows);
            }
            4..8 => {
                let following = self.readers.following.borrow_mut().pop();
                if let Some(following) = following {
                    self.read_on(following, max_rows);
                }
            }
            8 => {
                let snapshot = log.snapshot(stream, number).unwrap();
                keep(&self.readers.snapshots, (stream, number, snapshot));
            }
            _ => {
                let snapshot = self.readers.snapshots.borrow_mut().pop();
                if let Some((stream, number, snapshot)) = snapshot {
                    self.check_snapshot(stream, number, &snapshot);
                }
            }
        }
    }

    /// The columns that the stream has now.
    pub(super) fn level(&self, stream: StreamId) -> Level {
        let entry = self.log().and_then(|log| log.shared().catalog.entry(stream));
        rows::level(entry.expect("the stream is known").stream.schema())
    }

    fn read_on(&self, mut following: Following, max_rows: usize) {
        let Following { stream, number, level, reader } = &mut following;
        let (failures, position) = (self.machine.failures(), reader.position());
        let found = reader.next(max_rows);
        let mut model = self.model.borrow_mut();
        let partition = model.current.partition(*stream, *number);
        match found {
            Ok(None) => {}
            Ok(Some(rows)) => {
                assert_eq!(rows.start_offset, position);
                if let Err(what) = check::rows_at(&rows.batch, *level, position, partition) {
                    self.fail(&format!("a reader found {what}"));
                }
            }
            Err(Error::OffsetRemoved { oldest, .. }) if position < oldest && oldest <= partition.removable => return,
            Err(Error::SchemaChanged { .. }) if rows::outgrew(*level, self.level(*stream)) => return,
            Err(error) if !self.has_failed_since(failures) || matches!(error, Error::Corrupt { .. }) => {
                self.fail(&format!("reading failed for no reason: {error}"));
            }
            Err(_) => return,
        }
        drop(model);
        keep(&self.readers.following, following);
    }

    /// The rows of one instant, all of them, wherever they have gone since.
    fn check_snapshot(&self, stream: StreamId, number: u32, snapshot: &PartitionSnapshot) {
        let mut at = snapshot.segments.first().map_or(snapshot.range.start, |segment| segment.start_offset);
        let failures = self.machine.failures();
        for segment in &snapshot.segments {
            assert_eq!(segment.start_offset, at);
            at = segment.end_offset;
            if let Err(error) = segment.verify()
                && (!self.has_failed_since(failures) || matches!(error, Error::Corrupt { .. }))
            {
                self.fail(&format!("a segment of a snapshot is gone: {error}"));
            }
        }
        let level = rows::level(&snapshot.schema);
        let mut model = self.model.borrow_mut();
        let partition = model.current.partition(stream, number);
        for rows in &snapshot.tail {
            assert_eq!(rows.start_offset, at);
            at = rows.end_offset();
            check::rows_at(&rows.batch, level, rows.start_offset, partition).unwrap_or_else(|what| self.fail(&what));
        }
        assert_eq!(at, snapshot.range.end);
    }
}
