//! Batches that are Arrow already (an IPC stream, a Parquet file) → rows of a stream: columns by name, cast where that
//! loses nothing. A value that does not fit rejects its row; a column of another type is no row's fault and refuses the
//! whole input. `line` of a rejected row is its number, from 1; its `row` is the row as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, TimestampMicrosecondType};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::array_value_to_string;

use super::Decoded;
use super::cast::{castable, expanded_bytes};
use super::rows::too_far_ahead;
use super::shape::RowShape;
use super::timestamp::{MAX_US, MIN_US};
use super::value::{Kind, Scalar, Value, shorten};
use crate::error::{Error, Result};

/// Fits batches of one schema to the rows of a stream.
#[derive(Debug)]
pub(crate) struct BatchFitter {
    shape: Arc<RowShape>,
    /// Column of the input for each column of the stream.
    sources: Vec<Option<usize>>,
    unknown_per_row: u64,
    max_bytes: u64,
}

impl BatchFitter {
    /// Matches the columns of `schema` to those of the stream. Columns that blow up beyond `max_bytes` when they are
    /// unpacked are refused later.
    ///
    /// # Errors
    /// A column has a type that does not go into the stream's, comes twice, or none is the stream's.
    pub(crate) fn new(shape: &Arc<RowShape>, schema: &Schema, format: &'static str, max_bytes: u64) -> Result<Self> {
        let malformed = |reason| Error::Malformed { format, reason };
        let mut sources = vec![None; shape.columns.len()];
        let mut unknown_per_row = 0;
        for (i, field) in schema.fields().iter().enumerate() {
            let Some(column) = shape.column(field.name()) else {
                shape.note_unknown_field(field.name());
                unknown_per_row += 1;
                continue;
            };
            let (name, expected) = (field.name(), &shape.columns[column].type_name);
            if sources[column].replace(i).is_some() {
                return Err(malformed(format!("column {name:?}: expected once, found twice")));
            }
            if !castable(field.data_type(), shape.schema().field(column).data_type()) {
                return Err(malformed(format!("column {name:?}: expected {expected}, found {}", field.data_type())));
            }
        }
        if sources.iter().all(Option::is_none) {
            let names =
                |schema: &Schema| schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
            let (expected, found) = (names(shape.schema()), names(schema));
            return Err(malformed(format!("expected columns of {expected:?}, found {:?}", shorten(&found))));
        }
        Ok(Self { shape: Arc::clone(shape), sources, unknown_per_row, max_bytes })
    }

    /// Adds a batch to `decoded`, whose `lines` counts the rows before it.
    ///
    /// # Errors
    /// The batch is larger than it may be when unpacked, or Arrow refuses it.
    pub(crate) fn fit(&self, batch: &RecordBatch, now_us: i64, decoded: &mut Decoded) -> Result<()> {
        let rows = batch.num_rows();
        let unpacked: u64 = self.sources.iter().flatten().map(|&source| expanded_bytes(batch.column(source))).sum();
        if unpacked > self.max_bytes {
            return Err(Error::TooLarge { limit_bytes: self.max_bytes });
        }
        let mut wrong = BTreeMap::new();
        let mut columns = Vec::with_capacity(self.sources.len());
        for (i, source) in self.sources.iter().enumerate() {
            columns.push(self.column(i, source.map(|source| batch.column(source)), rows, now_us, &mut wrong)?);
        }
        if !wrong.is_empty() {
            let keep: BooleanArray = (0..rows).map(|row| Some(!wrong.contains_key(&row))).collect();
            for (row, reason) in &wrong {
                decoded.rejected.push(decoded.lines + *row as u64 + 1, reason, &as_json(batch, *row));
            }
            for column in &mut columns {
                *column = arrow::compute::filter(column, &keep)?;
            }
        }
        let good = rows - wrong.len();
        if good > 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(good));
            decoded.rows.push(RecordBatch::try_new_with_options(Arc::clone(self.shape.schema()), columns, &options)?);
        }
        decoded.lines += rows as u64;
        decoded.unknown_fields += self.unknown_per_row * rows as u64;
        Ok(())
    }

    /// One column of the stream; rows that it does not take go to `wrong` with the reason.
    fn column(
        &self,
        i: usize,
        source: Option<&ArrayRef>,
        rows: usize,
        now_us: i64,
        wrong: &mut BTreeMap<usize, String>,
    ) -> Result<ArrayRef> {
        let column = &self.shape.columns[i];
        let data_type = self.shape.schema().field(i).data_type();
        let Some(source) = source else {
            if !column.nullable {
                for row in 0..rows {
                    wrong.entry(row).or_insert_with(|| column.missing());
                }
            }
            return Ok(new_null_array(data_type, rows));
        };
        let fitted = match column.kind {
            Kind::Timestamp(_) => cast_timestamps(source, &column.kind, data_type)?,
            _ => cast(source, data_type)?,
        };
        if fitted.null_count() > 0 {
            let was_null = source.logical_nulls();
            for row in (0..rows).filter(|row| fitted.is_null(*row)) {
                if was_null.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    let found = array_value_to_string(source, row).unwrap_or_default();
                    let found = Value::Bare(found.into());
                    wrong.entry(row).or_insert_with(|| column.mismatch(&found));
                } else if !column.nullable {
                    wrong.entry(row).or_insert_with(|| column.mismatch(&Value::Null));
                }
            }
        }
        if let Some(event_time) = self.shape.event_time.filter(|event_time| event_time.column == i)
            && let Some(times) = fitted.as_primitive_opt::<TimestampMicrosecondType>()
        {
            let latest_us = self.shape.latest_event_time_us(now_us);
            for (row, us) in times.iter().enumerate().filter_map(|(row, us)| Some((row, us?))) {
                if us > latest_us {
                    wrong.entry(row).or_insert_with(|| too_far_ahead(&self.shape, event_time, us, now_us));
                }
            }
        }
        Ok(fitted)
    }
}

/// Instants of any unit, texts, or numbers in the stream's unit; NULL where one is none, or outside the years 1 to 9999.
fn cast_timestamps(source: &ArrayRef, kind: &Kind, data_type: &DataType) -> Result<ArrayRef> {
    let Kind::Timestamp(unit) = kind else { unreachable!("called for timestamps only") };
    let in_range = |us: &i64| (MIN_US..=MAX_US).contains(us);
    let times: TimestampMicrosecondArray = match source.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null => {
            let times = cast(source, data_type)?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            times.unary_opt(|us| Some(us).filter(in_range))
        }
        from if from.is_integer() => {
            let numbers = cast(source, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().unary_opt(|number| unit.to_us(number).filter(in_range))
        }
        _ => {
            let texts = cast(source, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            let read = |text: &str| match kind.read(&mut Value::Text(text.into())) {
                Some(Scalar::Int(us)) => Some(us),
                _ => None,
            };
            texts.iter().map(|text| text.and_then(read)).collect()
        }
    };
    Ok(Arc::new(times.with_data_type(data_type.clone())))
}

/// A row as a JSON object, for people to read in `rejected.<stream>`; empty where a type has no JSON form.
fn as_json(batch: &RecordBatch, row: usize) -> Vec<u8> {
    let mut json = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut json);
    let written = writer.write(&batch.slice(row, 1)).and_then(|()| writer.finish());
    drop(writer);
    if written.is_err() {
        json.clear();
    }
    json.truncate(json.trim_ascii_end().len());
    json
}
