//! What the fuzzer calls (`fuzz/` in the repository): one function for each format that comes in through a door. Each takes
//! any bytes, panics when a promise is broken, and returns otherwise. Not a part of the crate's interface.
//!
//! The promises: no panic, every row that came in is a row or a rejected row once, JSON means what another reader of it
//! says, and a body means the same however it is cut into parts.

mod ndjson;
mod seeds;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::decode::{
    CsvHeader, Decoded, EventTime, Format, Precision, RowShape, complete_csv_records, decode, decode_csv_records,
    decode_lines as decode_line_protocol,
};
use crate::input::TimestampUnit;

pub use ndjson::ndjson;
pub use seeds::write_seeds;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All of them by name.
pub const TARGETS: [(&str, Target); 5] = [
    ("ndjson", ndjson),
    ("json", json),
    ("csv", csv),
    ("line_protocol", line_protocol),
    ("arrow_stream", arrow_stream),
];

/// 2026-11-22T10:00:00Z.
const NOW_US: i64 = 1_795_341_600_000_000;
const MAX_BYTES: u64 = 1 << 24;

fn shape() -> Arc<RowShape> {
    let schema = Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("temperature", DataType::Float64, true),
        Field::new("count", DataType::Int64, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("small", DataType::Int8, true),
        Field::new("ratio", DataType::Float32, true),
        Field::new("price", DataType::Decimal128(9, 2), true),
        Field::new("day", DataType::Date32, true),
    ]);
    let event_time = EventTime { column: 1, max_skew_us: Some(60_000_000) };
    Arc::new(RowShape::new("readings", Arc::new(schema), Some(event_time), TimestampUnit::Millisecond))
}

/// A JSON body: an array has as many rows as another reader finds elements in it.
pub fn json(data: &[u8]) {
    let Ok(decoded) = decode(Format::Json, &shape(), data, MAX_BYTES, NOW_US) else { return };
    assert_eq!(rows_of(&decoded), decoded.lines, "each element is one row");
    if let Ok(elements) = serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(data) {
        assert_eq!(decoded.lines, elements.len() as u64, "elements of a whole array");
    }
    check_rejected(decoded);
}

/// CSV. The first two bytes say where a file would have been cut: a connector decodes what is complete, and the rest later.
pub fn csv(data: &[u8]) {
    let Some((at, body)) = data.split_first_chunk::<2>() else { return };
    let shape = shape();
    let Ok(whole) = decode(Format::Csv, &shape, body, MAX_BYTES, NOW_US) else { return };
    assert!(rows_of(&whole) <= whole.lines, "a row has a line at least");
    let header = CsvHeader::by_position(&shape);
    let records = |body: &[u8]| decode_csv_records(&shape, &header, body, NOW_US).expect("a header by position");
    let at = usize::from(u16::from_le_bytes(*at)) % (body.len() + 1);
    let complete = complete_csv_records(&body[..at]);
    assert!(complete <= at && (complete == 0 || body[complete - 1] == b'\n'), "records end with their lines");
    assert_same(records(body), [records(&body[..complete]), records(&body[complete..])]);
    check_rejected(whole);
}

/// Line protocol. The first byte is the precision, and whether a line has another stream.
pub fn line_protocol(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let precisions = [
        Precision::Nanosecond,
        Precision::Microsecond,
        Precision::Millisecond,
        Precision::Second,
        Precision::Minute,
        Precision::Hour,
    ];
    let precision = precisions[usize::from(first % 6)];
    let shape = shape();
    let find = |name: &str| name.len().is_multiple_of(2).then(|| (name.to_owned(), Arc::clone(&shape)));
    let lines = decode_line_protocol(body, precision, NOW_US, find).expect("columns of the schema's types");
    let rows: u64 = lines.streams.iter().map(|(_, decoded)| rows_of(decoded)).sum();
    let counted = memchr::memchr_iter(b'\n', body).count() as u64 + 1;
    assert!(rows + lines.homeless <= counted, "{rows} rows, {} of no stream, in {counted} lines", lines.homeless);
    for (name, decoded) in lines.streams {
        assert_eq!(name.len() % 2, 0);
        check_rejected(decoded);
    }
}

/// An Arrow IPC stream.
pub fn arrow_stream(data: &[u8]) {
    let shape = shape();
    let Ok(decoded) = decode(Format::ArrowStream, &shape, data, MAX_BYTES, NOW_US) else { return };
    for rows in &decoded.rows {
        assert_eq!(&rows.schema(), shape.schema());
        for column in rows.columns() {
            column.to_data().validate_full().expect("rows that were taken are valid");
        }
    }
    check_rejected(decoded);
}

fn rows_of(decoded: &Decoded) -> u64 {
    decoded.accepted() + decoded.rejected.len() as u64
}

/// Rejected rows become rows of their own stream.
fn check_rejected(decoded: Decoded) -> RecordBatch {
    let rejected = decoded.rejected.len();
    let batch = decoded.rejected.into_batch(NOW_US, "fuzzer").expect("columns of the schema's types");
    assert_eq!(batch.num_rows(), rejected);
    batch
}

/// What was decoded in parts is what was decoded at once; lines count from the beginning of each part.
fn assert_same(mut whole: Decoded, parts: impl IntoIterator<Item = Decoded>) {
    let mut together = Decoded::default();
    for part in parts {
        together.rows.extend(part.rows);
        together.rejected.append(part.rejected, together.lines);
        together.unknown_fields += part.unknown_fields;
        together.lines += part.lines;
    }
    assert_eq!(together.lines, whole.lines);
    assert_eq!(together.unknown_fields, whole.unknown_fields);
    let schema = shape();
    let rows = |decoded: &mut Decoded| {
        let rows = std::mem::take(&mut decoded.rows);
        concat_batches(schema.schema(), &rows).expect("rows of one schema")
    };
    assert_eq!(rows(&mut together), rows(&mut whole), "rows");
    // Which rows, not why: a quote that is never closed is told of in another way when no row follows it.
    let lines = |decoded: &Decoded| decoded.rejected.first().iter().map(|reason| reason.line).collect::<Vec<_>>();
    assert_eq!(lines(&together), lines(&whole));
    assert_eq!(check_rejected(together).num_rows(), check_rejected(whole).num_rows(), "rejected rows");
}

#[cfg(test)]
mod tests;
