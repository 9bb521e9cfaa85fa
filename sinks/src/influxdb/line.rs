//! Line protocol: which column is what, and the exact escapes.
//!
//! `measurement,tag=value field=1i,other="text" 1700000000000000`. Tags are sorted by name. Commas and spaces are escaped in
//! measurements; these and equals signs in names and tag values; quotes and backslashes in text fields. A tag cannot
//! hold a line break or end with a backslash: no escape is defined for either.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, UInt64Type};

use crate::alert::{is_alert_schema, rfc3339};
use crate::columns::{event_time, is_text};
use crate::error::{Error, Result};
use crate::options::OptionValues;

/// The points' times that the server can store, in ns (its own constants).
const TIME_NS: std::ops::RangeInclusive<i128> = (i64::MIN as i128 + 2)..=(i64::MAX as i128 - 1);

/// What tells alert events apart; their other texts are no tags, since each would make a series of its own.
const ALERT_TAGS: [&str; 2] = ["alert", "dedup_key"];

/// Unit of the points' time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
}

impl Precision {
    pub(super) fn of(text: Option<&str>) -> Self {
        match text {
            Some("ns") => Self::Nanoseconds,
            Some("ms") => Self::Milliseconds,
            Some("s") => Self::Seconds,
            _ => Self::Microseconds,
        }
    }

    /// The word of InfluxDB 1.
    pub(super) fn v1(self) -> &'static str {
        match self {
            Self::Nanoseconds => "n",
            Self::Microseconds => "u",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    /// The word of InfluxDB 2.
    pub(super) fn v2(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    /// The time in this unit; `None` where the server cannot store it.
    fn time(self, us: i64) -> Option<i64> {
        if !TIME_NS.contains(&(i128::from(us) * 1000)) {
            return None;
        }
        Some(match self {
            Self::Nanoseconds => us * 1000,
            Self::Microseconds => us,
            Self::Milliseconds => us.div_euclid(1000),
            Self::Seconds => us.div_euclid(1_000_000),
        })
    }
}

/// How rows of a schema become points.
#[derive(Debug)]
pub(super) struct Encoding {
    measurement: Option<String>,
    precision: Precision,
    time: usize,
    /// Columns in the order of their names.
    tags: Vec<usize>,
    fields: Vec<usize>,
}

impl Encoding {
    pub(super) fn of(options: &OptionValues, schema: &Schema) -> Result<Self> {
        let time = event_time(schema, options.text("timestamp"))
            .ok_or_else(|| Error::Schema { expected: "a timestamp column".into(), found: "none".into() })?;
        let is_alert = is_alert_schema(schema);
        let is_tag = |column: &usize| {
            let field = schema.field(*column);
            match options.columns("tags") {
                Some(tags) => tags.contains(field.name()),
                None if is_alert => ALERT_TAGS.contains(&field.name().as_str()),
                None => is_text(field.data_type()),
            }
        };
        let (mut tags, fields): (Vec<usize>, Vec<usize>) =
            (0..schema.fields().len()).filter(|column| *column != time).partition(is_tag);
        tags.sort_by_key(|column| schema.field(*column).name().clone());
        Ok(Self {
            measurement: options.text("measurement").map(str::to_owned),
            precision: Precision::of(options.text("precision")),
            time,
            tags,
            fields,
        })
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// One line a row, without the line break; the reason where a row cannot be a point.
    pub(super) fn lines(&self, rows: &RecordBatch, feed: &str) -> Result<Vec<std::result::Result<String, String>>> {
        let schema = rows.schema();
        let name = |column: usize| escape(schema.field(column).name(), &[',', '=', ' ']).into_owned();
        let measurement = escape(self.measurement.as_deref().unwrap_or(feed), &[',', ' ']).into_owned();
        let times = cast(rows.column(self.time), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let tags = self
            .tags
            .iter()
            .map(|&column| Ok((name(column), cast(rows.column(column), &DataType::Utf8)?)))
            .collect::<Result<Vec<_>>>()?;
        let fields = self
            .fields
            .iter()
            .map(|&column| Ok((name(column), FieldColumn::of(rows.column(column), self.precision)?)))
            .collect::<Result<Vec<_>>>()?;
        let line = |row: usize| -> std::result::Result<String, String> {
            let mut line = measurement.clone();
            for (name, values) in &tags {
                push_tag(&mut line, name, values.as_string::<i32>(), row)?;
            }
            let mut separator = ' ';
            for (name, values) in &fields {
                if let Some(value) = values.value(row)? {
                    line.push(separator);
                    line.push_str(name);
                    line.push('=');
                    line.push_str(&value);
                    separator = ',';
                }
            }
            if separator == ' ' {
                return Err("expected at least one field with a value, found none".to_owned());
            }
            if times.is_null(row) {
                return Err("expected a time, found null".to_owned());
            }
            let us = times.value(row);
            let time = self
                .precision
                .time(us)
                .ok_or_else(|| format!("expected a time between the years 1677 and 2262, found {}", rfc3339(us)))?;
            // Writing to a string cannot fail.
            let _ = write!(line, " {time}");
            Ok(line)
        };
        Ok((0..rows.num_rows()).map(line).collect())
    }
}

fn push_tag(
    line: &mut String,
    name: &str,
    values: &arrow::array::StringArray,
    row: usize,
) -> std::result::Result<(), String> {
    // A tag without a value is one that is absent.
    if values.is_null(row) || values.value(row).is_empty() {
        return Ok(());
    }
    let value = values.value(row);
    if value.contains(['\n', '\r']) {
        return Err(format!("expected tag {name} without a line break, found one"));
    }
    if value.ends_with('\\') {
        return Err(format!("expected tag {name} not to end with a backslash, found '{value}'"));
    }
    line.push(',');
    line.push_str(name);
    line.push('=');
    line.push_str(&escape(value, &[',', '=', ' ']));
    Ok(())
}

/// Values of a field column, cast to what line protocol has.
enum FieldColumn {
    Float(ArrayRef),
    Integer(ArrayRef),
    Unsigned(ArrayRef),
    Boolean(ArrayRef),
    Text(ArrayRef),
    Time(ArrayRef, Precision),
    /// What has no text of its own: as JSON.
    Json(Vec<Option<String>>),
}

impl FieldColumn {
    fn of(column: &ArrayRef, precision: Precision) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::Float16
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal32(_, _)
            | DataType::Decimal64(_, _)
            | DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _) => Self::Float(cast(column, &DataType::Float64)?),
            DataType::UInt64 => Self::Unsigned(Arc::clone(column)),
            kind if kind.is_integer() => Self::Integer(cast(column, &DataType::Int64)?),
            DataType::Boolean => Self::Boolean(Arc::clone(column)),
            DataType::Timestamp(_, _) => {
                Self::Time(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?, precision)
            }
            kind if kind.is_nested() || kind.is_binary() => Self::Json(json_texts(column)?),
            _ => Self::Text(cast(column, &DataType::Utf8)?),
        })
    }

    /// The value as written on a line; `None` where there is none.
    fn value(&self, row: usize) -> std::result::Result<Option<String>, String> {
        let array: &ArrayRef = match self {
            Self::Json(texts) => return Ok(texts[row].as_deref().map(quoted)),
            Self::Float(array)
            | Self::Integer(array)
            | Self::Unsigned(array)
            | Self::Boolean(array)
            | Self::Text(array)
            | Self::Time(array, _) => array,
        };
        if array.is_null(row) {
            return Ok(None);
        }
        Ok(match self {
            Self::Float(array) => {
                let value = array.as_primitive::<Float64Type>().value(row);
                value.is_finite().then(|| value.to_string())
            }
            Self::Integer(array) => Some(format!("{}i", array.as_primitive::<Int64Type>().value(row))),
            Self::Unsigned(array) => {
                let value = array.as_primitive::<UInt64Type>().value(row);
                let value = i64::try_from(value)
                    .map_err(|_| format!("expected an integer up to {}, found {value}", i64::MAX))?;
                Some(format!("{value}i"))
            }
            Self::Boolean(array) => Some(array.as_boolean().value(row).to_string()),
            Self::Text(array) => Some(quoted(array.as_string::<i32>().value(row))),
            Self::Time(array, precision) => precision
                .time(array.as_primitive::<TimestampMicrosecondType>().value(row))
                .map(|time| format!("{time}i")),
            Self::Json(_) => None,
        })
    }
}

fn json_texts(column: &ArrayRef) -> Result<Vec<Option<String>>> {
    let rows = RecordBatch::try_from_iter([("value", Arc::clone(column))])?;
    let texts = crate::json::rows(&rows)?;
    let value = |text: String| text["{\"value\":".len()..text.len() - 1].to_owned();
    Ok(texts.into_iter().enumerate().map(|(row, text)| column.is_valid(row).then(|| value(text))).collect())
}

fn escape<'a>(text: &'a str, special: &[char]) -> Cow<'a, str> {
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if special.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Cow::Owned(escaped)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(text, &['"', '\\']))
}
