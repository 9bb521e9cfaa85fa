//! Rows for the suite: ordinary ones, and ones that are hard to write.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::Value;

use crate::alert::alert_schema;

/// 2026-11-22 00:00:00 UTC.
const START_US: i64 = 1_795_305_600_000_000;

/// Columns of the suite's sensor rows. `id` tells rows apart, `(device_id, ts)` too.
#[must_use]
pub fn sensor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("id", DataType::Int64, false),
        Field::new("temperature", DataType::Float64, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

struct SensorRow {
    ts_us: i64,
    id: i64,
    temperature: Option<f64>,
    note: Option<String>,
}

fn batch(rows: Vec<SensorRow>) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.ts_us)).collect();
    RecordBatch::try_new(
        sensor_schema(),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("press-{}", row.id % 7)))),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))),
            Arc::new(rows.iter().map(|row| row.temperature).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.note.as_deref()).collect::<StringArray>()),
        ],
    )
    .expect("the columns are those of the schema")
}

/// Ordinary sensor rows with these ids, a minute apart.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "ids of tests are small")]
pub fn sensor_rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let row = |id: i64| SensorRow {
        ts_us: START_US + id * 60_000_000,
        id,
        temperature: Some(20.0 + (id as f64 * 0.7).sin()),
        note: (id % 3 == 0).then(|| format!("note {id}")),
    };
    batch(ids.map(row).collect())
}

/// Rows that are hard to write: nulls, text of all kinds, floats that are no numbers, times at the ends of calendars.
#[must_use]
pub fn odd_rows() -> RecordBatch {
    let notes = [
        "",
        "Grüße, 温度 🌡️",
        "comma, space = equals",
        "quote \" backslash \\ both \\\"",
        "line\nbreak\tand tab",
        "\\",
        "{\"json\": [1, null]}",
        "\u{1}\u{7f}\u{feff}",
    ];
    let temperatures =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2];
    // The epoch, a µs before it, the ends of four-digit years, the ends of what 64 bits hold.
    let times = [0, -1, -62_135_596_800_000_000, 253_402_300_799_999_999, i64::MIN, i64::MAX];
    let plain = |id: i64| SensorRow { ts_us: START_US + id * 1_000_000, id, temperature: Some(1.5), note: None };
    let mut rows = vec![SensorRow { temperature: None, ..plain(0) }];
    for note in notes.into_iter().map(str::to_owned).chain(["x".repeat(10_000)]) {
        let id = rows.len() as i64;
        rows.push(SensorRow { note: Some(note), ..plain(id) });
    }
    for temperature in temperatures {
        let id = rows.len() as i64;
        rows.push(SensorRow { temperature: Some(temperature), ..plain(id) });
    }
    for ts_us in times {
        let id = rows.len() as i64;
        rows.push(SensorRow { ts_us, ..plain(id) });
    }
    batch(rows)
}

/// Triggers of different keys; the id is in the key and the details.
#[must_use]
pub fn alert_rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let text =
        |render: &dyn Fn(i64) -> String| Arc::new(StringArray::from_iter_values(ids.iter().map(|id| render(*id))));
    let times: TimestampMicrosecondArray = ids.iter().map(|id| Some(START_US + id * 1_000_000)).collect();
    RecordBatch::try_new(
        alert_schema(),
        vec![
            Arc::new(times.with_timezone("UTC")),
            text(&|_| "overheating".into()),
            text(&|id| format!("plant/overheating/{id}")),
            text(&|_| "trigger".into()),
            text(&|id| ["critical", "error", "warning", "info"][usize::try_from(id % 4).unwrap_or(0)].into()),
            text(&|id| format!("press-{id} reached 93.5 °C")),
            text(&|id| format!(r#"{{"device_id":"press-{id}"}}"#)),
            text(&|id| format!(r#"{{"id":{id},"peak":93.5}}"#)),
        ],
    )
    .expect("the columns are those of the schema")
}

/// A row as JSON, as this crate writes it.
#[must_use]
pub fn row_json(batch: &RecordBatch, row: usize) -> Value {
    let text = crate::json::row(batch, row).expect("the suite's types have JSON forms");
    serde_json::from_str(&text).expect("a row is written as JSON")
}
