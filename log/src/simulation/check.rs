//! Compares a log with what it should hold.

use crate::log::Log;
use crate::simulation::model::{Contents, PartitionModel, StreamModel};
use crate::simulation::rows;
use crate::stream::StreamId;

/// What differs; nothing when the log holds exactly this. Rows that retention may have removed may be there or not.
pub(super) fn compare(log: &Log, expected: &Contents) -> Result<(), String> {
    outline(log, expected)?;
    for stream in expected.streams.values() {
        for (number, partition) in (0..).zip(&stream.partitions) {
            read(log, stream.id, number, partition)?;
        }
    }
    Ok(())
}

/// Everything but the rows themselves.
pub(super) fn outline(log: &Log, expected: &Contents) -> Result<(), String> {
    let found: Vec<_> = log.streams().iter().map(|stream| (stream.id(), stream.spec().clone())).collect();
    let streams: Vec<_> = expected.streams.values().map(|stream| (stream.id, stream.spec.clone())).collect();
    if found != streams {
        return Err(format!("streams: expected {streams:?}, found {found:?}"));
    }
    for stream in expected.streams.values() {
        for (number, partition) in (0..).zip(&stream.partitions) {
            range(log, stream, number, partition)?;
        }
    }
    let names = ["fast", "slow", "never"];
    for stream in expected.streams.values() {
        for number in 0..stream.spec.partitions {
            for name in names {
                let found = log.cursor(name, stream.id, number);
                let expected = expected.cursors.get(&(name.to_owned(), stream.id, number)).copied();
                if found != expected {
                    let place = format!("cursor {name} of {} partition {number}", stream.spec.name);
                    return Err(format!("{place}: expected {expected:?}, found {found:?}"));
                }
            }
        }
    }
    let values: Vec<_> = expected.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let found = log.values("");
    if found != values {
        return Err(format!("values: expected {values:?}, found {found:?}"));
    }
    Ok(())
}

fn range(log: &Log, stream: &StreamModel, number: u32, partition: &PartitionModel) -> Result<(), String> {
    let found = log.range(stream.id, number).map_err(|error| error.to_string())?;
    let (start, removable, end) = (partition.start, partition.removable.max(partition.start), partition.end());
    if found.end != end || found.start < start || found.start > removable {
        let place = format!("{} partition {number}", stream.spec.name);
        return Err(format!("{place}: expected rows from {start} (or up to {removable}) to {end}, found {found:?}"));
    }
    Ok(())
}

/// Reads all rows of a partition.
fn read(log: &Log, stream: StreamId, number: u32, expected: &PartitionModel) -> Result<(), String> {
    let failed = |error: crate::Error| format!("stream {} partition {number}: {error}", stream.0);
    let range = log.range(stream, number).map_err(failed)?;
    let mut reader = log.reader(stream, number, range.start, None).map_err(failed)?;
    let mut at = range.start;
    while let Some(found) = reader.next(100).map_err(failed)? {
        if found.start_offset != at {
            return Err(format!("expected rows from offset {at} on, found {}", found.start_offset));
        }
        rows_at(&found.batch, at, expected)?;
        at = found.end_offset();
    }
    if at == range.end { Ok(()) } else { Err(format!("reading ended at offset {at} of {range:?}")) }
}

/// Whether these are the rows at that offset.
pub(super) fn rows_at(batch: &arrow::array::RecordBatch, offset: u64, expected: &PartitionModel) -> Result<(), String> {
    let found = rows::numbers(batch)?;
    let from = usize::try_from(offset).unwrap();
    let expected = expected.rows.get(from..from + found.len()).ok_or("more rows than were appended")?;
    if found.iter().eq(expected.iter().map(|row| &row.n)) {
        return Ok(());
    }
    let expected: Vec<i64> = expected.iter().map(|row| row.n - rows::FIRST_NUMBER).collect();
    let found: Vec<i64> = found.iter().map(|n| n - rows::FIRST_NUMBER).collect();
    Err(format!("rows at offset {offset}: expected {expected:?}, found {found:?}"))
}
