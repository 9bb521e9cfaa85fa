//! Where a continuous query's rows go: a stream of the log, or an alert.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::util::display::FormatOptions;
use thermocline_log::{Commit, Stream};

use crate::alert::AlertOperator;
use crate::error::Result;

const EXACT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The end of a continuous query.
#[derive(Debug)]
pub(crate) enum Emitter {
    /// Rows are appended to a stream, columns by position.
    Stream(Stream),
    /// Rows move alert instances.
    Alert(Box<AlertOperator>),
}

impl Emitter {
    /// The same of rows that take the place of earlier ones: they raise an alert that was not raised before, and change
    /// nothing else about it.
    pub(crate) fn correct(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        match self {
            Self::Alert(alert) => alert.correct(rows, commit),
            Self::Stream(_) => self.emit(rows, commit),
        }
    }

    /// Bytes held between rows.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Stream(_) => 0,
            Self::Alert(alert) => alert.bytes(),
        }
    }

    /// Adds what the rows make to the commit; returns how many rows or events that is.
    pub(crate) fn emit(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        match self {
            Self::Alert(alert) => alert.update(rows, commit),
            Self::Stream(stream) => {
                if rows.num_rows() == 0 {
                    return Ok(0);
                }
                let columns = stream
                    .schema()
                    .fields()
                    .iter()
                    .zip(rows.columns())
                    .map(|(field, column)| match column.data_type() == field.data_type() {
                        true => Ok(Arc::clone(column)),
                        // A value that does not fit is an error, never a NULL.
                        false => cast_with_options(column, field.data_type(), &EXACT),
                    })
                    .collect::<Result<_, _>>()?;
                commit.append(stream.id(), RecordBatch::try_new(Arc::clone(stream.schema()), columns)?);
                Ok(rows.num_rows())
            }
        }
    }
}
