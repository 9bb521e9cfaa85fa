//! Rows that retention removed before a reader came to them. Retention by age waits for every reader; by size it waits
//! for nobody, or a disk would fill up: the gap is counted and logged, and the reader goes on after it.

use thermocline_log::{SelectedRows, SelectiveReader};

use crate::error::Result;

/// The next rows that are still there, at most `max_rows`.
pub(crate) fn next_kept(reader: &mut SelectiveReader, max_rows: usize) -> Result<Option<SelectedRows>> {
    loop {
        match reader.next(max_rows) {
            Err(thermocline_log::Error::OffsetRemoved { stream, partition, offset, oldest }) => {
                let rows = oldest - offset;
                metrics::counter!("thermocline_skipped_rows_total", "stream" => stream.clone()).increment(rows);
                tracing::warn!(stream, partition, offset, rows, "rows were removed by retention before they were read");
                reader.seek(oldest);
            }
            other => return Ok(other?),
        }
    }
}
