//! File statistics of the Delta protocol: `numRecords`, `minValues`, `maxValues`, `nullCount`. A bound that could
//! mislead a reader (floats with NaN, infinities, times beyond the calendar) is left out.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::temporal_conversions::date32_to_datetime;
use chrono::DateTime;
use serde_json::{Map, Value, json};

/// Texts are cut to this many characters, as Spark does.
const TEXT_CHARS: usize = 32;

/// The statistics of a file as the text of a JSON object.
pub(super) fn file_stats(rows: &RecordBatch) -> String {
    let (mut min_values, mut max_values, mut null_count) = (Map::new(), Map::new(), Map::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if field.data_type().is_nested() {
            continue;
        }
        null_count.insert(field.name().clone(), column.null_count().into());
        let (least, greatest) = bounds(column);
        min_values.extend(least.map(|least| (field.name().clone(), least)));
        max_values.extend(greatest.map(|greatest| (field.name().clone(), greatest)));
    }
    json!({
        "numRecords": rows.num_rows(),
        "minValues": min_values,
        "maxValues": max_values,
        "nullCount": null_count,
    })
    .to_string()
}

fn bounds(column: &ArrayRef) -> (Option<Value>, Option<Value>) {
    macro_rules! primitive {
        ($kind:ty, $render:expr) => {{
            let column = column.as_primitive::<$kind>();
            (min(column).and_then($render), max(column).and_then($render))
        }};
    }
    macro_rules! float {
        ($kind:ty) => {{
            let values = column.as_primitive::<$kind>();
            if values.iter().flatten().any(|value| !value.is_finite()) {
                return (None, None);
            }
            primitive!($kind, |value| Some(json!(value)))
        }};
    }
    match column.data_type() {
        DataType::Int8 => primitive!(Int8Type, |value| Some(json!(value))),
        DataType::Int16 => primitive!(Int16Type, |value| Some(json!(value))),
        DataType::Int32 => primitive!(Int32Type, |value| Some(json!(value))),
        DataType::Int64 => primitive!(Int64Type, |value| Some(json!(value))),
        DataType::Float32 => float!(Float32Type),
        DataType::Float64 => float!(Float64Type),
        DataType::Date32 => primitive!(Date32Type, date),
        DataType::Timestamp(TimeUnit::Microsecond, _) => primitive!(TimestampMicrosecondType, timestamp),
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            (min_string(texts).map(least_text), max_string(texts).and_then(greatest_text))
        }
        _ => (None, None),
    }
}

fn date(days: i32) -> Option<Value> {
    let date = date32_to_datetime(days)?;
    in_calendar(date.and_utc()).map(|date| json!(date.format("%Y-%m-%d").to_string()))
}

fn timestamp(us: i64) -> Option<Value> {
    let time = in_calendar(DateTime::from_timestamp_micros(us)?)?;
    Some(json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
}

/// Years of four digits, which every reader parses.
fn in_calendar(time: DateTime<chrono::Utc>) -> Option<DateTime<chrono::Utc>> {
    use chrono::Datelike as _;
    (1..=9999).contains(&time.year()).then_some(time)
}

fn least_text(text: &str) -> Value {
    text.chars().take(TEXT_CHARS).collect::<String>().into()
}

/// A cut text is below what it was cut from: the last character that has a successor is raised.
fn greatest_text(text: &str) -> Option<Value> {
    if text.chars().count() <= TEXT_CHARS {
        return Some(text.into());
    }
    let mut cut: Vec<char> = text.chars().take(TEXT_CHARS).collect();
    while let Some(last) = cut.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            cut.push(next);
            return Some(cut.into_iter().collect::<String>().into());
        }
    }
    None
}
