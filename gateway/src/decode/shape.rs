//! What rows of a stream look like to a decoder, with all that can be worked out once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, FieldRef, SchemaRef};

use super::value::{Kind, Value};
use crate::input::TimestampUnit;

/// The columns of a stream, prepared for decoding.
#[derive(Debug)]
pub struct RowShape {
    stream: String,
    schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    by_name: HashMap<String, usize>,
    pub(crate) event_time: Option<EventTime>,
    unknown_field_seen: AtomicBool,
}

/// The event-time column of a stream and its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime {
    /// Index of the column, a `Timestamp(µs, "UTC")`.
    pub column: usize,
    /// How far in the future an event time may lie, in microseconds; `None` is no bound.
    pub max_skew_us: Option<i64>,
}

/// One column as decoders see it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// The type as SQL writes it.
    pub(crate) type_name: String,
}

impl RowShape {
    /// Prepares rows of `schema`; numbers in timestamps count `unit`.
    #[must_use]
    pub fn new(stream: &str, schema: SchemaRef, event_time: Option<EventTime>, unit: TimestampUnit) -> Self {
        let column = |field: &FieldRef| Column {
            name: field.name().clone(),
            kind: Kind::of(field.data_type(), unit),
            nullable: field.is_nullable(),
            type_name: sql_type(field.data_type()),
        };
        let columns: Vec<Column> = schema.fields().iter().map(column).collect();
        let by_name = columns.iter().enumerate().map(|(i, column)| (column.name.clone(), i)).collect();
        let unknown_field_seen = AtomicBool::new(false);
        Self { stream: stream.to_owned(), schema, columns, by_name, event_time, unknown_field_seen }
    }

    /// The columns of every row.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Index of the column of that name.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The latest event time that is taken when the clock shows `now_us`.
    pub(crate) fn latest_event_time_us(&self, now_us: i64) -> i64 {
        let max_skew_us = self.event_time.and_then(|event_time| event_time.max_skew_us);
        max_skew_us.map_or(i64::MAX, |skew_us| now_us.saturating_add(skew_us))
    }

    /// Logs the first field of the stream that no column has; later ones are only counted.
    pub(crate) fn note_unknown_field(&self, field: &str) {
        let seen = &self.unknown_field_seen;
        // Read before write: fields that are ignored in every row must not contend for the flag.
        if !seen.load(Ordering::Relaxed) && !seen.swap(true, Ordering::Relaxed) {
            let (stream, field) = (&self.stream, super::value::shorten(field));
            tracing::warn!(%stream, %field, "no column of that name, the field is ignored; later ones are only counted");
        }
    }
}

impl Column {
    /// Why a value was not taken.
    #[cold]
    pub(crate) fn mismatch(&self, found: &Value<'_>) -> String {
        if matches!(found, Value::Null) {
            return format!("column {:?}: expected {} NOT NULL, found null", self.name, self.type_name);
        }
        let (expects, found) = (self.kind.expects(), found.describe());
        format!("column {:?}: expected {} ({expects}), found {found}", self.name, self.type_name)
    }

    /// Why a row without the column was not taken.
    #[cold]
    pub(crate) fn missing(&self) -> String {
        format!("column {:?}: expected {} NOT NULL, found nothing", self.name, self.type_name)
    }

    /// Why a row that names the column twice was not taken.
    #[cold]
    pub(crate) fn duplicate(&self) -> String {
        format!("column {:?}: expected once, found twice", self.name)
    }
}

/// A column type as the dialect writes it; Arrow's own name where the dialect has none.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "TEXT".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "TINYINT UNSIGNED".to_owned(),
        DataType::UInt16 => "SMALLINT UNSIGNED".to_owned(),
        DataType::UInt32 => "INT UNSIGNED".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Binary => "BYTEA".to_owned(),
        other => other.to_string(),
    }
}
