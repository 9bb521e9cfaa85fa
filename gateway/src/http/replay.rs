//! The answer to rows that were stored by an earlier request, made from what was stored.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use thermocline_log::{Log, OffsetRange, Receipt, StreamId};

use super::rows::Appended;
use crate::decode::{REASONS_IN_ANSWER, Reason};
use crate::error::{Error, Result};
use crate::input::OpenStream;

/// Columns of `rejected.<stream>` that an answer names.
const LINE_AND_REASON: [&str; 2] = ["line", "reason"];

/// What the first request was answered. Rejected rows that retention has removed meanwhile are counted, not named.
pub(crate) async fn answer(log: &Log, open: &Arc<OpenStream>, receipt: Receipt) -> Result<Appended> {
    let (stream, rejected) = (open.input.stream.id(), open.input.rejected.id());
    let accepted = rows_of(&receipt, stream);
    let rejected_rows = rows_of(&receipt, rejected);
    let errors = if rejected_rows == 0 {
        Vec::new()
    } else {
        let (log, open) = (log.clone(), Arc::clone(open));
        // They may be in a segment.
        tokio::task::spawn_blocking(move || first_reasons(&log, &open, &receipt)).await??
    };
    Ok(Appended { accepted, rejected: rejected_rows, errors })
}

fn ranges_of(receipt: &Receipt, stream: StreamId) -> impl Iterator<Item = &OffsetRange> {
    receipt.ranges.iter().filter(move |range| range.stream == stream)
}

fn rows_of(receipt: &Receipt, stream: StreamId) -> u64 {
    ranges_of(receipt, stream).map(|range| range.end - range.start).sum()
}

fn first_reasons(log: &Log, open: &OpenStream, receipt: &Receipt) -> Result<Vec<Reason>> {
    let rejected = &open.input.rejected;
    let columns = LINE_AND_REASON.iter().map(|name| rejected.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
    let mut reasons = Vec::new();
    for range in ranges_of(receipt, rejected.id()) {
        let mut reader = log.reader(rejected.id(), range.partition, range.start, Some(columns.clone()))?;
        while reasons.len() < REASONS_IN_ANSWER && reader.position() < range.end {
            let wanted = (range.end - reader.position()).min((REASONS_IN_ANSWER - reasons.len()) as u64);
            match reader.next(usize::try_from(wanted).unwrap_or(REASONS_IN_ANSWER)) {
                Ok(Some(rows)) => add_reasons(&mut reasons, &rows.batch),
                Ok(None) | Err(thermocline_log::Error::OffsetRemoved { .. }) => break,
                Err(error) => return Err(Error::Log(error)),
            }
        }
    }
    Ok(reasons)
}

fn add_reasons(reasons: &mut Vec<Reason>, rows: &RecordBatch) {
    let (lines, texts) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_string::<i32>());
    reasons.extend((0..rows.num_rows()).map(|row| {
        let line = if lines.is_null(row) { 0 } else { lines.value(row).cast_unsigned() };
        Reason { line, reason: texts.value(row).to_owned() }
    }));
}
