//! Where a continuous query's rows go: a stream of the log, or an alert.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::util::display::FormatOptions;
use thermocline_log::{Commit, Stream};

use crate::alert::AlertOperator;
use crate::error::Result;
use crate::views::Outlet;

const EXACT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The end of a continuous query.
#[derive(Debug)]
pub(crate) enum Emitter {
    /// Rows are appended to a stream, columns by position.
    Stream(Stream),
    /// The rows of a view. Those of one commit are one batch, so that nobody sees a part of them.
    View { stream: Stream, gathered: Vec<RecordBatch>, outlet: Outlet },
    /// Rows move alert instances.
    Alert(Box<AlertOperator>),
}

impl Emitter {
    /// The same of rows that take the place of earlier ones: they raise an alert that was not raised before, and change
    /// nothing else about it.
    pub(crate) fn correct(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        match self {
            Self::Alert(alert) => alert.correct(rows, commit),
            Self::Stream(_) | Self::View { .. } => self.emit(rows, commit),
        }
    }

    /// Bytes held between rows.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Stream(_) => 0,
            Self::View { gathered, .. } => gathered.iter().map(RecordBatch::get_array_memory_size).sum(),
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
                commit.append(stream.id(), as_stored(rows, stream)?);
                Ok(rows.num_rows())
            }
            Self::View { stream, gathered, .. } => {
                if rows.num_rows() > 0 {
                    gathered.push(as_stored(rows, stream)?);
                }
                Ok(rows.num_rows())
            }
        }
    }

    /// Adds what was gathered to the commit. Tells whether a commit is due without it: a view's readers wait for the watermark.
    pub(crate) fn flush(&mut self, watermark_us: i64, commit: &mut Commit) -> Result<bool> {
        let Self::View { stream, gathered, outlet } = self else { return Ok(false) };
        if !gathered.is_empty() {
            commit.append(stream.id(), concat_batches(stream.schema(), gathered.iter())?);
            gathered.clear();
        }
        Ok(outlet.owes(watermark_us))
    }

    /// Tells a view's readers the watermark that is committed.
    pub(crate) fn tell(&mut self, watermark_us: i64) -> Result<()> {
        match self {
            Self::View { outlet, .. } => outlet.tell(watermark_us),
            Self::Stream(_) | Self::Alert(_) => Ok(()),
        }
    }
}

/// The rows with the columns of the stream.
fn as_stored(rows: &RecordBatch, stream: &Stream) -> Result<RecordBatch> {
    let columns = stream.schema().fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        // A value that does not fit is an error, never a NULL.
        false => cast_with_options(column, field.data_type(), &EXACT),
    });
    Ok(RecordBatch::try_new(Arc::clone(stream.schema()), columns.collect::<Result<_, _>>()?)?)
}
