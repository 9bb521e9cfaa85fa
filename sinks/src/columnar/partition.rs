//! Which part of a table a row belongs to: by the UTC date of its event time, or by a column.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike as _};

use crate::columns::{event_time, is_text};
use crate::error::Result;
use crate::options::{Mismatch, OptionValues};

const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// How rows are parted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PartitionBy {
    /// All rows are one part.
    Nothing,
    /// By the UTC date of the event time in this column; the table gets a column `date`.
    Date(usize),
    /// By a column of the rows.
    Column(usize),
}

/// Rows of one part.
#[derive(Debug)]
pub(crate) struct Part {
    /// Value of the partition column as text; `None` where it is null or there is none.
    pub value: Option<String>,
    pub rows: RecordBatch,
}

impl PartitionBy {
    /// From the options `partition_by` and `timestamp`. A column named `date` is taken before the date of the event
    /// time.
    pub(crate) fn of(options: &OptionValues, schema: &Schema) -> std::result::Result<Self, Mismatch> {
        let Some(name) = options.text("partition_by") else { return Ok(Self::Nothing) };
        if let Ok(column) = schema.index_of(name) {
            let kind = schema.field(column).data_type();
            let fits = kind.is_integer() || matches!(kind, DataType::Boolean | DataType::Date32) || is_text(kind);
            if !fits {
                let found = format!("'{name}' of type {kind}");
                return Err(Mismatch::of("partition_by", "a text, integer, boolean or date column", found));
            }
            if schema.fields().len() == 1 {
                return Err(Mismatch::of("partition_by", "a column beside others", format!("'{name}', the only one")));
            }
            return Ok(Self::Column(column));
        }
        match event_time(schema, options.text("timestamp")) {
            Some(column) => Ok(Self::Date(column)),
            None => Err(Mismatch::of("partition_by", "rows with a timestamp column", "rows without one")),
        }
    }

    /// Name of the partition column.
    pub(crate) fn name<'a>(&self, schema: &'a Schema) -> Option<&'a str> {
        match self {
            Self::Nothing => None,
            Self::Date(_) => Some("date"),
            Self::Column(column) => Some(schema.field(*column).name()),
        }
    }

    fn values(&self, rows: &RecordBatch) -> Result<Option<ArrayRef>> {
        let values = match self {
            Self::Nothing => return Ok(None),
            Self::Date(column) => {
                let times = cast(rows.column(*column), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                let times = times.as_primitive::<TimestampMicrosecondType>();
                Arc::new(times.iter().map(|us| us.and_then(utc_date)).collect::<StringArray>())
            }
            Self::Column(column) => cast(rows.column(*column), &DataType::Utf8)?,
        };
        Ok(Some(values))
    }
}

/// Splits rows into parts, by value, without the partition column itself.
pub(crate) fn split(rows: &RecordBatch, by: &PartitionBy) -> Result<Vec<Part>> {
    let Some(values) = by.values(rows)? else {
        return Ok(vec![Part { value: None, rows: rows.clone() }]);
    };
    let values = values.as_string::<i32>();
    let mut parts: BTreeMap<Option<&str>, Vec<u32>> = BTreeMap::new();
    for row in 0..values.len() {
        // The Delta protocol knows no empty text as a partition value: it reads as null.
        let value = values.is_valid(row).then(|| values.value(row)).filter(|value| !value.is_empty());
        parts.entry(value).or_default().push(u32::try_from(row).unwrap_or(u32::MAX));
    }
    let kept: Vec<usize> = (0..rows.num_columns()).filter(|column| *by != PartitionBy::Column(*column)).collect();
    let rows = rows.project(&kept)?;
    let is_one = parts.len() == 1;
    let mut split = Vec::with_capacity(parts.len());
    for (value, indices) in parts {
        let rows = if is_one { rows.clone() } else { take_record_batch(&rows, &UInt32Array::from(indices))? };
        split.push(Part { value: value.map(str::to_owned), rows });
    }
    Ok(split)
}

/// The UTC date as text; `None` beyond years of four digits, which no reader would take for a date.
fn utc_date(us: i64) -> Option<String> {
    let date = DateTime::from_timestamp_micros(us)?.date_naive();
    (1..=9999).contains(&date.year()).then(|| date.format("%Y-%m-%d").to_string())
}

impl Part {
    /// The folder of this part, Hive's way; characters that a path could trip over become `_`.
    pub(crate) fn folder(&self, column: &str) -> String {
        let value = self.value.as_deref().unwrap_or(HIVE_NULL);
        format!("{}={}", path_safe(column), path_safe(value))
    }
}

/// Text as part of a file name.
pub(crate) fn path_safe(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
