//! Rows that an expression fails on (`CAST('x' AS INT)`, a division by zero): found by halving, kept out of the query,
//! kept with the reason in the stream `failed.<query>`. One poisonous row stops nothing, and fails again in a replay.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::error::DataFusionError;
use thermocline_log::{Log, Stream};

use crate::error::Result;
use crate::keyed::KeyedRows;
use crate::late::rows_at;
use crate::stage::Stage;
use crate::window::WindowAggregate;

/// Name of the stream that keeps the failed rows of a query.
pub(crate) fn failed_stream_name(query: &str) -> String {
    format!("failed.{query}")
}

/// Why a row failed.
pub(super) const FAILED_REASON: &str = "failed_reason";

/// A row that the query made itself, as JSON; the stream's columns are NULL then.
pub(super) const FAILED_RESULT: &str = "failed_result";

/// Columns of a failed stream: those of the stream that the query reads (all nullable), why the row failed, and the row
/// itself where the query made it.
pub(crate) fn failed_schema(stream: &Schema) -> SchemaRef {
    let own = stream.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    let reason = Arc::new(Field::new(FAILED_REASON, DataType::Utf8, false));
    let result = Arc::new(Field::new(FAILED_RESULT, DataType::Utf8, true));
    Arc::new(Schema::new(own.chain([reason, result]).collect::<Vec<_>>()))
}

/// A failed row as the index of its row in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedRow {
    pub(crate) row: u32,
    pub(crate) reason: String,
}

/// A failed row by its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedOffset {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

impl FailedRow {
    /// Its place, in a batch that starts at `start_offset`.
    pub(crate) fn at(self, partition: u32, start_offset: u64) -> FailedOffset {
        FailedOffset { partition, offset: start_offset + u64::from(self.row), reason: self.reason }
    }
}

/// The failed rows with all their columns, read again from the log.
pub(crate) fn failed_rows(log: &Log, stream: &Stream, failed: &[FailedOffset]) -> Result<RecordBatch> {
    let own = rows_at(log, stream, failed.iter().map(|row| (row.partition, row.offset)))?;
    let reasons: ArrayRef = Arc::new(StringArray::from_iter_values(failed.iter().map(|row| &row.reason)));
    let results = new_null_array(&DataType::Utf8, failed.len());
    let columns = own.columns().iter().cloned().chain([reasons, results]).collect();
    Ok(RecordBatch::try_new(failed_schema(stream.schema()), columns)?)
}

/// Runs the stage over `rows` rows without those that it fails on; they come beside the output, in their order.
pub(crate) async fn run_stage(
    stage: &mut Stage,
    rows: usize,
    column: impl Fn(usize) -> ArrayRef,
) -> Result<(RecordBatch, Vec<FailedRow>)> {
    let mut halves = Halves::of(rows);
    let mut outputs = Vec::new();
    while let Some(range) = halves.next() {
        match stage.run(range.len(), |i| column(i).slice(range.start, range.len())).await {
            Ok(output) => outputs.push(output),
            Err(error) => halves.fail(range, error)?,
        }
    }
    let output = match outputs.len() {
        1 => outputs.remove(0),
        _ => concat_batches(&stage.schema(), &outputs)?,
    };
    Ok((output, halves.into_failed()))
}

/// Evaluates an aggregate's expressions over a stage's output, whose last column is the index of the input row. Gives
/// the input rows of what is left, and the failed ones.
pub(crate) fn evaluate(
    aggregate: &WindowAggregate,
    output: &RecordBatch,
) -> Result<(KeyedRows, UInt32Array, Vec<FailedRow>)> {
    let evaluate = |rows: &RecordBatch| aggregate.evaluate(rows);
    evaluate_output(output, evaluate)
}

/// The same of anything that is evaluated.
pub(crate) fn evaluate_output<T>(
    output: &RecordBatch,
    evaluate: impl Fn(&RecordBatch) -> Result<T, DataFusionError>,
) -> Result<(T, UInt32Array, Vec<FailedRow>)> {
    let row_of = |rows: &RecordBatch| rows.column(rows.num_columns() - 1).as_primitive::<UInt32Type>().clone();
    let mut halves = Halves::of(output.num_rows());
    while let Some(range) = halves.next() {
        match evaluate(&output.slice(range.start, range.len())) {
            Ok(evaluated) if range.len() == output.num_rows() => return Ok((evaluated, row_of(output), Vec::new())),
            Ok(_) => {}
            Err(error) => halves.fail(range, error)?,
        }
    }
    let rows = row_of(output);
    let failed = halves.failed.iter().map(|(at, reason)| FailedRow { row: rows.value(*at), reason: reason.clone() });
    let mut failed: Vec<FailedRow> = failed.collect();
    // A join may have made several rows of one.
    failed.dedup_by_key(|failed| failed.row);
    let has_failed = |row: u32| failed.binary_search_by_key(&row, |failed| failed.row).is_ok();
    let left = (0..rows.len()).filter(|at| !has_failed(rows.value(*at)));
    let left = UInt32Array::from_iter_values(left.map(|at| at as u32));
    let left = take_record_batch(output, &left)?;
    Ok((evaluate(&left)?, row_of(&left), failed))
}

/// Ranges of rows that are still to be tried, the first one last.
pub(super) struct Halves {
    waiting: Vec<Range<usize>>,
    failed: Vec<(usize, String)>,
}

impl Halves {
    pub(super) fn of(rows: usize) -> Self {
        Self { waiting: std::iter::once(0..rows).collect(), failed: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        self.waiting.pop()
    }

    /// Takes note that a range failed: it is tried by halves; a single row has failed.
    pub(super) fn fail(&mut self, range: Range<usize>, error: DataFusionError) -> Result<()> {
        if !is_of_a_row(&error) || range.is_empty() {
            return Err(error.into());
        }
        if range.len() == 1 {
            self.failed.push((range.start, error.strip_backtrace()));
            return Ok(());
        }
        let middle = range.start + range.len() / 2;
        self.waiting.push(middle..range.end);
        self.waiting.push(range.start..middle);
        Ok(())
    }

    /// Takes note that a range failed which cannot be tried by halves.
    pub(super) fn fail_all(&mut self, range: Range<usize>, error: DataFusionError) -> Result<()> {
        if !is_of_a_row(&error) || range.is_empty() {
            return Err(error.into());
        }
        let reason = error.strip_backtrace();
        self.failed.extend(range.map(|row| (row, reason.clone())));
        Ok(())
    }

    /// The rows that have failed, in their order.
    pub(super) fn into_failed(self) -> Vec<FailedRow> {
        self.failed.into_iter().map(|(row, reason)| FailedRow { row: row as u32, reason }).collect()
    }
}

/// Whether the rows are to blame: a value that a function or a cast does not take.
fn is_of_a_row(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ArrowError(..) | DataFusionError::Execution(_))
}
