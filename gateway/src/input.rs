//! What the gateway knows of a stream that rows can be sent to, and the stream that keeps what was malformed.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thermocline_log::Stream;

use crate::decode::{EventTime, RowShape};
use crate::metadata::{Metadata, MetadataColumn, sent_index, sent_schema};

/// A stream that doors and connectors feed.
#[derive(Debug, Clone)]
pub struct StreamInput {
    /// The stream.
    pub stream: Stream,
    /// Its `rejected.<stream>`, with [`rejected_schema`].
    pub rejected: Stream,
    /// Index of the event-time column, a `Timestamp(µs, "UTC")`, when the stream has one.
    pub event_time_column: Option<usize>,
    /// How far in the future an event time may lie, in microseconds; `None` is no bound.
    pub max_skew_us: Option<i64>,
    /// What a number in a `TIMESTAMP` column counts.
    pub timestamp_unit: TimestampUnit,
    /// Columns that doors fill; the others are sent.
    pub metadata: Vec<MetadataColumn>,
}

impl StreamInput {
    /// Whether a column keeps this metadata.
    pub(crate) fn wants(&self, metadata: Metadata) -> bool {
        self.metadata.iter().any(|column| column.metadata == metadata)
    }
}

/// A stream whose doors are open: its input and the shape of its rows, worked out once.
#[derive(Debug)]
pub struct OpenStream {
    /// The stream and its options.
    pub input: StreamInput,
    /// What its rows look like to a decoder: the columns that are sent.
    pub shape: Arc<RowShape>,
}

impl OpenStream {
    /// Prepares a stream.
    #[must_use]
    pub fn new(input: StreamInput) -> Self {
        // What a door fills needs no bound: it is the door's own time.
        let sent = input.event_time_column.and_then(|column| sent_index(&input.metadata, column));
        let event_time = sent.map(|column| EventTime { column, max_skew_us: input.max_skew_us });
        let (name, schema) = (input.stream.name(), sent_schema(input.stream.schema(), &input.metadata));
        let shape = Arc::new(RowShape::new(name, schema, event_time, input.timestamp_unit));
        Self { input, shape }
    }
}

/// What a timestamp that is a number counts since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    #[default]
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

impl TimestampUnit {
    /// The unit in words, as error texts have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "seconds",
            Self::Millisecond => "milliseconds",
            Self::Microsecond => "microseconds",
            Self::Nanosecond => "nanoseconds",
        }
    }

    /// A whole number of this unit in microseconds, rounded down; `None` when it does not fit.
    pub(crate) fn to_us(self, value: i64) -> Option<i64> {
        match self {
            Self::Second => value.checked_mul(1_000_000),
            Self::Millisecond => value.checked_mul(1_000),
            Self::Microsecond => Some(value),
            Self::Nanosecond => Some(value.div_euclid(1_000)),
        }
    }

    /// A fractional number of this unit in microseconds, rounded to the nearest; not finite stays not finite.
    pub(crate) fn to_us_f64(self, value: f64) -> f64 {
        match self {
            Self::Second => (value * 1e6).round(),
            Self::Millisecond => (value * 1e3).round(),
            Self::Microsecond => value.round(),
            Self::Nanosecond => (value / 1e3).round(),
        }
    }
}

/// Columns of every `rejected.<stream>`:
///
/// | column | type | meaning |
/// | --- | --- | --- |
/// | `rejected_at` | `Timestamp(µs, "UTC")` | when the row came in |
/// | `source` | `Utf8` | the door it came through (`http`, `line protocol`, a file's path) |
/// | `line` | `Int64`, nullable | line of the body or file (number of the row where the format has no lines), from 1 |
/// | `reason` | `Utf8` | column, what was expected, what was found |
/// | `row` | `Utf8`, nullable | the row as it came, where that is UTF-8 |
/// | `row_bytes` | `Binary`, nullable | the row as it came, where it is not |
#[must_use]
pub fn rejected_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("rejected_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("source", DataType::Utf8, false),
        Field::new("line", DataType::Int64, true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("row", DataType::Utf8, true),
        Field::new("row_bytes", DataType::Binary, true),
    ]))
}

/// Name of the stream that keeps the malformed rows of `stream`.
#[must_use]
pub fn rejected_stream_name(stream: &str) -> String {
    format!("rejected.{stream}")
}
