//! The readers that are compared: each makes Arrow columns of the same bytes and returns the number of rows.

use std::io::Cursor;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;
use simd_json::{Node, StaticNode};
use sonic_rs::JsonValueTrait;
use thermocline_gateway::{EventTime, Format, RowShape, TimestampUnit, decode};

use crate::columns::{Columns, column};

/// Later than every event time of the workload.
const NOW_US: i64 = 1_800_000_000_000_000;

/// A row that `serde` fills, its texts borrowed.
#[derive(Deserialize)]
struct Reading<'a> {
    device_id: &'a str,
    ts: i64,
    temperature: f64,
    pressure: f64,
    vibration: f64,
    status: &'a str,
}

impl Reading<'_> {
    #[inline]
    fn append_to(&self, columns: &mut Columns) {
        columns.text(0, self.device_id);
        columns.time(self.ts);
        columns.number(2, self.temperature);
        columns.number(3, self.pressure);
        columns.number(4, self.vibration);
        columns.text(5, self.status);
    }
}

/// The gateway's decoder, all of its checks included.
pub fn thermocline(part: &[u8]) -> usize {
    let event_time = EventTime { column: 1, max_skew_us: Some(60_000_000) };
    let shape = Arc::new(RowShape::new("sensors", schema(true), Some(event_time), TimestampUnit::Millisecond));
    let decoded = decode(Format::Ndjson, &shape, part, u64::MAX, NOW_US).expect("NDJSON is read row by row");
    usize::try_from(decoded.accepted()).expect("rows of a part fit")
}

/// arrow-json's reader; it takes no milliseconds for a timestamp, so the column stays an integer.
pub fn arrow_json(part: &[u8]) -> usize {
    let builder = arrow::json::ReaderBuilder::new(schema(false)).with_batch_size(32 << 10);
    let reader = builder.build(Cursor::new(part)).expect("the schema is supported");
    reader.map(|batch| batch.expect("the rows are good").num_rows()).sum()
}

/// `serde_json` into a struct, line by line.
pub fn serde_json_typed(part: &[u8]) -> usize {
    lines(part, |line, columns| {
        serde_json::from_str::<Reading<'_>>(line).expect("the rows are good").append_to(columns);
    })
}

/// `sonic-rs` into a struct, line by line.
pub fn sonic_typed(part: &[u8]) -> usize {
    lines(part, |line, columns| {
        sonic_rs::from_str::<Reading<'_>>(line).expect("the rows are good").append_to(columns);
    })
}

/// `sonic-rs` finds keys and values of a line; the values are read for their columns.
pub fn sonic_lazy(part: &[u8]) -> usize {
    lines(part, |line, columns| {
        for (field, entry) in sonic_rs::to_object_iter(line).enumerate() {
            let (key, value) = entry.expect("the rows are good");
            match column(field, &key) {
                Some(column @ (0 | 5)) => columns.text(column, value.as_str().expect("a text")),
                Some(1) => columns.time(value.as_i64().expect("an integer")),
                Some(column) => columns.number(column, value.as_f64().expect("a number")),
                None => {}
            }
        }
    })
}

/// `simd-json` into a struct: the part becomes one array, so that its structure is indexed in one go.
pub fn simd_typed(part: &[u8]) -> usize {
    let mut text = as_array(part);
    let readings: Vec<Reading<'_>> = simd_json::from_slice(&mut text).expect("the rows are good");
    let mut columns = Columns::new(readings.len());
    readings.iter().for_each(|reading| reading.append_to(&mut columns));
    columns.finish()
}

/// `simd-json`'s tape of the whole part, walked into columns.
pub fn simd_tape(part: &[u8]) -> usize {
    let mut text = as_array(part);
    let tape = simd_json::to_tape(&mut text).expect("the rows are good").0;
    let Some(Node::Array { len: rows, .. }) = tape.first() else { panic!("the part is an array") };
    let mut columns = Columns::new(*rows);
    let mut at = 1;
    while let Some(node) = tape.get(at) {
        let Node::Object { len: fields, .. } = node else { panic!("a row is an object") };
        at += 1;
        for field in 0..*fields {
            let (Node::String(key), value) = (tape[at], tape[at + 1]) else { panic!("a key is a string") };
            match (column(field, key), value) {
                (Some(column), Node::String(text)) => columns.text(column, text),
                (Some(1), Node::Static(StaticNode::I64(ms))) => columns.time(ms),
                (Some(1), Node::Static(StaticNode::U64(ms))) => columns.time(ms as i64),
                (Some(column), Node::Static(StaticNode::F64(number))) => columns.number(column, number),
                (Some(column), Node::Static(StaticNode::U64(number))) => columns.number(column, number as f64),
                (Some(column), Node::Static(StaticNode::I64(number))) => columns.number(column, number as f64),
                _ => panic!("a value of a row is a text or a number"),
            }
            at += 2;
        }
    }
    columns.finish()
}

/// One JSON array of the lines; `simd-json` writes into the text it reads, so the copy is part of its cost.
fn as_array(part: &[u8]) -> Vec<u8> {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    let mut text = Vec::with_capacity(part.len() + 64);
    text.push(b'[');
    text.extend(part.iter().map(|byte| if *byte == b'\n' { b',' } else { *byte }));
    text.push(b']');
    text
}

fn lines(part: &[u8], mut read: impl FnMut(&str, &mut Columns)) -> usize {
    let text = std::str::from_utf8(part).expect("the rows are text");
    let mut columns = Columns::new(part.len() / 100);
    for line in text.lines() {
        read(line, &mut columns);
    }
    columns.finish()
}

fn schema(timestamps: bool) -> SchemaRef {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", if timestamps { timestamp } else { DataType::Int64 }, false),
        Field::new("temperature", DataType::Float64, true),
        Field::new("pressure", DataType::Float64, true),
        Field::new("vibration", DataType::Float64, true),
        Field::new("status", DataType::Utf8, true),
    ]))
}
