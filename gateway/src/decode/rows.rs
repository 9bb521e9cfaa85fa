//! Collects the rows of one stream while a format is read: a row goes in whole or is rejected whole.
//!
//! A reader either fills a [`Scratch`] and has it taken, or writes the row into the columns value by value
//! ([`Rows::set`]) and ends it ([`Rows::end_row`]), which saves a copy of each value.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, SecondsFormat};

use super::Decoded;
use super::columns::ColumnBuilder;
use super::rejected::RejectedRows;
use super::shape::{EventTime, RowShape};
use super::value::{Kind, Scalar, Value};
use crate::error::Result;

/// The row being read; holds no row when a reader starts the next one.
pub(crate) struct Scratch<'a> {
    scalars: Vec<Scalar<'a>>,
}

impl<'a> Scratch<'a> {
    pub(crate) fn new(shape: &RowShape) -> Self {
        Self { scalars: vec![Scalar::Missing; shape.columns.len()] }
    }

    /// Starts a row.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.scalars.fill(Scalar::Missing);
    }

    /// Sets a column of the row.
    ///
    /// # Errors
    /// The reason to reject the row: the column is set already, or takes no such value.
    #[inline]
    pub(crate) fn set(&mut self, shape: &RowShape, column: usize, mut value: Value<'a>) -> Result<(), String> {
        let scalar = &mut self.scalars[column];
        let column = &shape.columns[column];
        if !matches!(scalar, Scalar::Missing) {
            return Err(column.duplicate());
        }
        match column.kind.read(&mut value) {
            Some(Scalar::Null) if !column.nullable => Err(column.mismatch(&value)),
            Some(read) => {
                *scalar = read;
                Ok(())
            }
            None => Err(column.mismatch(&value)),
        }
    }

    /// Sets the event time of the row, in microseconds.
    ///
    /// # Errors
    /// The reason to reject the row: the column is set already.
    pub(crate) fn set_event_time(&mut self, shape: &RowShape, column: usize, us: i64) -> Result<(), String> {
        if !self.is_missing(column) {
            return Err(shape.columns[column].duplicate());
        }
        self.scalars[column] = Scalar::Int(us);
        Ok(())
    }

    /// Sets a column to a scalar of its kind, whatever it was.
    pub(crate) fn put(&mut self, column: usize, scalar: Scalar<'a>) {
        self.scalars[column] = scalar;
    }

    pub(crate) fn is_missing(&self, column: usize) -> bool {
        matches!(self.scalars[column], Scalar::Missing)
    }
}

/// Rows of one stream being built.
pub(crate) struct Rows {
    shape: Arc<RowShape>,
    builders: Vec<ColumnBuilder>,
    count: usize,
    rejected: RejectedRows,
    unknown_fields: u64,
    now_us: i64,
    latest_event_time_us: i64,
    /// Columns that the row being written has set.
    columns_set: usize,
}

impl Rows {
    /// No rows yet, room for `capacity`; `now_us` is the time that event times are held against.
    pub(crate) fn new(shape: &Arc<RowShape>, capacity: usize, now_us: i64) -> Self {
        let fields = shape.schema().fields();
        Self {
            builders: fields.iter().map(|field| ColumnBuilder::new(field.data_type(), capacity)).collect(),
            latest_event_time_us: shape.latest_event_time_us(now_us),
            shape: Arc::clone(shape),
            count: 0,
            rejected: RejectedRows::default(),
            unknown_fields: 0,
            now_us,
            columns_set: 0,
        }
    }

    pub(crate) fn shape(&self) -> &Arc<RowShape> {
        &self.shape
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.now_us
    }

    /// From now on, event times are held against `now_us`.
    pub(crate) fn set_now(&mut self, now_us: i64) {
        self.latest_event_time_us = self.shape.latest_event_time_us(now_us);
        self.now_us = now_us;
    }

    /// Takes the row in `scratch`, or rejects it: for what its reader found (`read`), for a column it lacks, or for an
    /// event time too far ahead.
    #[inline]
    pub(crate) fn take(&mut self, line: u64, raw: &[u8], scratch: &Scratch<'_>, read: Result<(), String>) {
        match read.and_then(|()| self.check(scratch)) {
            Ok(()) => {
                for (builder, scalar) in self.builders.iter_mut().zip(&scratch.scalars) {
                    builder.append(scalar);
                }
                self.count += 1;
            }
            Err(reason) => self.rejected.push(line, &reason, raw),
        }
    }

    /// What a column reads.
    #[inline]
    pub(crate) fn kind(&self, column: usize) -> &Kind {
        &self.shape.columns[column].kind
    }

    /// Sets a column of the row being written.
    ///
    /// # Errors
    /// The reason to reject the row: the column is set already, or takes no such value.
    pub(crate) fn set(&mut self, column: usize, mut value: Value<'_>) -> Result<(), String> {
        let named = &self.shape.columns[column];
        let builder = &mut self.builders[column];
        if builder.len() != self.count {
            return Err(named.duplicate());
        }
        match named.kind.read(&mut value) {
            Some(Scalar::Null) if !named.nullable => Err(named.mismatch(&value)),
            Some(scalar) => {
                builder.append(&scalar);
                self.columns_set += 1;
                Ok(())
            }
            None => Err(named.mismatch(&value)),
        }
    }

    /// Sets a column of the row being written to a scalar of its kind.
    ///
    /// # Errors
    /// The reason to reject the row: the column is set already.
    #[inline(always)] // the scalar's variant is known where this is called, which decides most of it
    pub(crate) fn put(&mut self, column: usize, scalar: &Scalar<'_>) -> Result<(), String> {
        let builder = &mut self.builders[column];
        if builder.len() != self.count {
            return Err(self.shape.columns[column].duplicate());
        }
        builder.append(scalar);
        self.columns_set += 1;
        Ok(())
    }

    /// Sets a column of texts of the row being written to the first `length` of `bytes`, which are UTF-8.
    ///
    /// # Errors
    /// The reason to reject the row: the column is set already.
    #[inline]
    pub(crate) fn put_text(&mut self, column: usize, bytes: &[u8], length: usize) -> Result<(), String> {
        let builder = &mut self.builders[column];
        if builder.len() != self.count {
            return Err(self.shape.columns[column].duplicate());
        }
        builder.append_text(bytes, length);
        self.columns_set += 1;
        Ok(())
    }

    /// Takes the row being written, or rejects it: for what its reader found (`read`), for a column it lacks, or for an
    /// event time too far ahead.
    #[inline]
    pub(crate) fn end_row(&mut self, line: u64, raw: &[u8], read: Result<(), String>) {
        let complete = self.columns_set == self.builders.len();
        self.columns_set = 0;
        match read.and_then(|()| if complete { Ok(()) } else { self.fill_row() }).and_then(|()| self.check_event_time())
        {
            Ok(()) => self.count += 1,
            Err(reason) => {
                self.builders.iter_mut().for_each(|builder| builder.truncate(self.count));
                self.rejected.push(line, &reason, raw);
            }
        }
    }

    /// NULL for the columns that the row being written has not set.
    fn fill_row(&mut self) -> Result<(), String> {
        for (column, builder) in self.shape.columns.iter().zip(&mut self.builders) {
            if builder.len() == self.count {
                if !column.nullable {
                    return Err(column.missing());
                }
                builder.append_null();
            }
        }
        Ok(())
    }

    #[inline]
    fn check_event_time(&self) -> Result<(), String> {
        if let Some(event_time) = self.shape.event_time
            && let Some(us) = self.builders[event_time.column].last_int()
            && us > self.latest_event_time_us
        {
            return Err(too_far_ahead(&self.shape, event_time, us, self.now_us));
        }
        Ok(())
    }

    /// Rejects a row.
    pub(crate) fn reject(&mut self, line: u64, raw: &[u8], reason: &str) {
        self.rejected.push(line, reason, raw);
    }

    /// Counts fields that no column takes.
    pub(crate) fn ignore_field(&mut self, name: &str) {
        self.shape.note_unknown_field(name);
        self.unknown_fields += 1;
    }

    /// Counts a field that no column takes, of a name that was noted before.
    pub(crate) fn ignore_known_field(&mut self) {
        self.unknown_fields += 1;
    }

    /// The rows; `lines` is how many lines they were read from.
    ///
    /// # Errors
    /// Only when Arrow refuses the columns, which have the schema's types.
    pub(crate) fn finish(self, lines: u64) -> Result<Decoded> {
        let mut rows = Vec::new();
        if self.count > 0 {
            let columns = self.builders.into_iter().map(ColumnBuilder::finish).collect::<Result<_>>()?;
            rows.push(RecordBatch::try_new(Arc::clone(self.shape.schema()), columns)?);
        }
        Ok(Decoded { rows, rejected: self.rejected, unknown_fields: self.unknown_fields, lines })
    }

    #[inline]
    fn check(&self, scratch: &Scratch<'_>) -> Result<(), String> {
        for (column, scalar) in self.shape.columns.iter().zip(&scratch.scalars) {
            if !column.nullable && matches!(scalar, Scalar::Missing) {
                return Err(column.missing());
            }
        }
        if let Some(event_time) = self.shape.event_time
            && let Scalar::Int(us) = scratch.scalars[event_time.column]
            && us > self.latest_event_time_us
        {
            return Err(too_far_ahead(&self.shape, event_time, us, self.now_us));
        }
        Ok(())
    }
}

/// Why a row from the future is rejected.
#[cold]
pub(crate) fn too_far_ahead(shape: &RowShape, event_time: EventTime, event_us: i64, now_us: i64) -> String {
    let skew_s = event_time.max_skew_us.unwrap_or_default() as f64 / 1e6;
    let (name, event, now) = (&shape.columns[event_time.column].name, rfc3339(event_us), rfc3339(now_us));
    format!("column {name:?}: expected an event time at most {skew_s} s after now ({now}), found {event}")
}

/// Microseconds since the epoch as RFC 3339 text.
fn rfc3339(us: i64) -> String {
    DateTime::from_timestamp_micros(us)
        .map_or_else(|| format!("{us} µs"), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
