//! Compares a log with what it should hold.

use arrow::array::RecordBatch;

use crate::log::Log;
use crate::simulation::ids::{Ids, PRODUCERS, fingerprint};
use crate::simulation::model::{Contents, PartitionModel, StreamModel};
use crate::simulation::rows::{self, Level};

/// What differs; nothing when the log holds exactly this. Rows that retention may have removed may be there or not.
pub(super) fn compare(log: &Log, expected: &Contents) -> Result<(), String> {
    outline(log, expected)?;
    for stream in expected.streams.values() {
        for (number, partition) in (0..).zip(&stream.partitions) {
            read(log, stream, number, partition)?;
        }
    }
    Ok(())
}

/// Which of `candidates` the log holds, the latest first; what differs from each when it is none.
pub(super) fn compare_any(log: &Log, candidates: &[Contents]) -> Result<usize, Vec<String>> {
    let mut wrong = Vec::new();
    for (index, candidate) in candidates.iter().enumerate().rev() {
        match compare(log, candidate) {
            Ok(()) => return Ok(index),
            Err(what) => wrong.push(what),
        }
    }
    Err(wrong)
}

/// Everything but the rows themselves.
fn outline(log: &Log, expected: &Contents) -> Result<(), String> {
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
    ids(log, &expected.ids)
}

fn ids(log: &Log, expected: &Ids) -> Result<(), String> {
    for (key, ranges) in expected.certain_keys() {
        let found = log.receipt(key.to_le_bytes(), fingerprint(key)).map_err(|error| error.to_string())?;
        if found.as_ref().is_none_or(|found| found.ranges != ranges) {
            return Err(format!("key {key}: expected {ranges:?}, found {found:?}"));
        }
    }
    for producer in PRODUCERS {
        let (expected, found) = (expected.next_sequence(producer), log.producer_sequence(producer));
        if expected != found.map(|last| last + 1) {
            return Err(format!("producer {producer}: expected to go on with {expected:?}, found {found:?}"));
        }
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
fn read(log: &Log, stream: &StreamModel, number: u32, expected: &PartitionModel) -> Result<(), String> {
    let (level, stream) = (rows::level(&stream.spec.schema), stream.id);
    let failed = |error: crate::Error| format!("stream {} partition {number}: {error}", stream.0);
    let range = log.range(stream, number).map_err(failed)?;
    let mut reader = log.reader(stream, number, range.start, None).map_err(failed)?;
    let mut at = range.start;
    while let Some(found) = reader.next(100).map_err(failed)? {
        if found.start_offset != at {
            return Err(format!("expected rows from offset {at} on, found {}", found.start_offset));
        }
        rows_at(&found.batch, level, at, expected)?;
        at = found.end_offset();
    }
    if at == range.end { Ok(()) } else { Err(format!("reading ended at offset {at} of {range:?}")) }
}

/// Whether these are the rows at that offset, with the columns of `level`.
pub(super) fn rows_at(batch: &RecordBatch, level: Level, offset: u64, expected: &PartitionModel) -> Result<(), String> {
    let found = rows::numbers(batch);
    let from = usize::try_from(offset).unwrap();
    let expected = expected.rows.get(from..from + found.len()).ok_or("more rows than were appended")?;
    if found.iter().eq(expected.iter().map(|row| &row.n)) {
        return rows::check(batch, level, expected);
    }
    let expected: Vec<i64> = expected.iter().map(|row| row.n - rows::FIRST_NUMBER).collect();
    let found: Vec<i64> = found.iter().map(|n| n - rows::FIRST_NUMBER).collect();
    Err(format!("rows at offset {offset}: expected {expected:?}, found {found:?}"))
}
