//! Reading a segment of any content whose name and checksum fit.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::MemoryDisk;
use super::{assert_named, seeds};
use crate::error::Error;
use crate::partition::{Partition, PartitionReader};
use crate::segment::{Segment, SegmentName};
use crate::stream::{Stream, StreamId, StreamSpec};

/// A byte that chooses the schema, one that chooses the projection, the number of rows that the name promises, then the
/// file. All rows are read, or an error says why not.
pub fn segment(data: &[u8]) {
    let [choice, projection, low, high, content @ ..] = data else { return };
    let (_, batch) = &seeds::batches()[usize::from(*choice) % seeds::batches().len()];
    let (start, rows) = (1000, u64::from(u16::from_le_bytes([*low, *high])));
    if rows == 0 {
        // No name says so.
        return;
    }
    let name = SegmentName { start, end: start + rows, append_ms: 0, crc: crc32c::crc32c(content) };
    let disk = MemoryDisk::default();
    let path = PathBuf::from("/segment");
    disk.put(&path, content.to_vec());
    let segment = Segment::new(Arc::new(disk), path, name, content.len() as u64);
    let partition = Arc::new(Partition::new(StreamId(1), 0, start, vec![Arc::new(segment)]));
    let stream = Stream::new(StreamId(1), StreamSpec::new("fuzzed", batch.schema()));
    let columns = batch.num_columns();
    let projection = match usize::from(*projection) {
        0 => None,
        bits => Some((0..columns).filter(|column| bits >> (column % 8) & 1 == 1).rev().collect::<Vec<_>>()),
    };
    let width = projection.as_ref().map_or(columns, Vec::len);
    let mut reader = PartitionReader::new(stream, partition, start, projection);
    let mut at = start;
    loop {
        match reader.next(100) {
            Ok(Some(rows)) => {
                assert_eq!((rows.start_offset, rows.batch.num_columns()), (at, width));
                assert!(rows.batch.num_rows() > 0);
                at = rows.end_offset();
                assert!(at <= start + u64::from(u16::MAX), "more rows than the name promises");
            }
            Ok(None) => return assert_eq!(at, start + rows, "as many rows as the name promises"),
            // The file may be of a later schema, which this reader cannot hold.
            Err(Error::SchemaChanged { .. }) => return,
            Err(error) => return assert_named(&error),
        }
    }
}
