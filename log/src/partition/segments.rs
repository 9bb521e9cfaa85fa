//! Reads the sealed rows of a partition forwards, one segment after the other.

use std::sync::Arc;

use crate::condition::RowCondition;
use crate::error::{Result, corrupt};
use crate::partition::SelectedRows;
use crate::partition::state::{Found, Partition};
use crate::segment::{Segment, SegmentReader, Wanted};
use crate::stream::Stream;

/// Iterates over the rows of the segments from a position on, up to the tail.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) stream: Stream,
    pub(super) partition: Arc<Partition>,
    pub(super) projection: Option<Vec<usize>>,
    /// Columns, as indices into the schema, that may come as dictionaries.
    pub(super) dictionaries: Vec<usize>,
    pub(super) condition: Option<Arc<dyn RowCondition>>,
    /// Offset of the next row.
    pub(super) position: u64,
    /// The segment being read; it stands at `position`.
    pub(super) open: Option<SegmentReader>,
}

impl Segments {
    /// The next rows; `None` when no segment holds the position.
    pub(super) fn next(&mut self) -> Result<Option<SelectedRows>> {
        if let Some(rows) = self.next_of_open()? {
            return Ok(Some(rows));
        }
        let Found::Segment(segment) = self.partition.find(self.position) else { return Ok(None) };
        self.open = Some(self.opened(&segment)?);
        let rows = self.next_of_open()?;
        rows.map(Some).ok_or_else(|| {
            corrupt(&segment.path, 0, format!("no row at offset {}, which its name promises", self.position))
        })
    }

    fn opened(&self, segment: &Arc<Segment>) -> Result<SegmentReader> {
        let wanted = Wanted {
            projection: self.projection.as_deref(),
            dictionaries: &self.dictionaries,
            condition: self.condition.as_ref(),
        };
        SegmentReader::open(segment, &self.stream, self.position, &wanted)
    }

    fn next_of_open(&mut self) -> Result<Option<SelectedRows>> {
        let Some(segment) = &mut self.open else { return Ok(None) };
        match segment.next_selected() {
            Ok(Some(rows)) => {
                self.position = rows.end_offset();
                Ok(Some(rows))
            }
            ended => {
                self.open = None;
                ended
            }
        }
    }
}
