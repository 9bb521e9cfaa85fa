//! Reads the columns that a stage needs from one partition, and runs the stage over them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt32Type;
use thermocline_log::{Log, RowCondition, SelectedRows, SelectiveReader, Stream};

use super::failed::{FailedRow, run_stage};
use crate::error::Result;
use crate::gap::next_kept;
use crate::stage::Stage;

/// A partition's reader with the stage's projection.
#[derive(Debug)]
pub(crate) struct StageReader {
    reader: SelectiveReader,
    /// Where each column of the stream is in what the reader gives.
    position_of: Vec<Option<usize>>,
}

/// Rows that were read, and what the stage made of them.
#[derive(Debug)]
pub(crate) struct StageRows {
    /// Offset of the first row read.
    pub(crate) start_offset: u64,
    /// How many rows were read, one after the other.
    pub(crate) read: u64,
    /// The rows read, with the projected columns; without those that a [selective](StageReader::selective) reader left out.
    pub(crate) input: RecordBatch,
    /// What came of them, in their order; the last column is the index of the input row.
    pub(crate) output: RecordBatch,
    /// Rows that the stage failed on.
    pub(crate) failed: Vec<FailedRow>,
}

impl StageRows {
    /// For each row of the output, which of the rows read it came of.
    pub(crate) fn row_of(&self) -> &UInt32Array {
        let rows = self.output.column(self.output.num_columns() - 1).as_primitive::<UInt32Type>();
        debug_assert_eq!(rows.null_count(), 0, "a join that keeps unmatched table rows was refused");
        rows
    }

    /// One past the offset of the last row read.
    pub(crate) fn end_offset(&self) -> u64 {
        self.start_offset + self.read
    }

    /// The output without the index.
    pub(crate) fn rows(&self) -> RecordBatch {
        let columns: Vec<usize> = (0..self.output.num_columns() - 1).collect();
        self.output.project(&columns).expect("indices are below the number of columns")
    }
}

impl StageReader {
    /// Reads from `offset` the columns of the stage; rows that its filter leaves out need not be read whole.
    pub(crate) fn selective(log: &Log, stream: &Stream, partition: u32, offset: u64, stage: &Stage) -> Result<Self> {
        Self::open(log, stream, partition, offset, stage, &[], stage.condition(stream.schema().fields().len()))
    }

    /// Reads all rows from `offset`: the columns of the stage, and `extra` ones. Texts that the stage does not need may come
    /// as dictionaries.
    pub(crate) fn new(
        log: &Log,
        stream: &Stream,
        partition: u32,
        offset: u64,
        stage: &Stage,
        extra: &[usize],
    ) -> Result<Self> {
        Self::open(log, stream, partition, offset, stage, extra, None)
    }

    fn open(
        log: &Log,
        stream: &Stream,
        partition: u32,
        offset: u64,
        stage: &Stage,
        extra: &[usize],
        condition: Option<Arc<dyn RowCondition>>,
    ) -> Result<Self> {
        let columns = stream.schema().fields().len();
        let mut projection: Vec<usize> = stage.projection().into_iter().filter(|i| *i < columns).collect();
        projection.extend(extra);
        if projection.is_empty() {
            // Rows are counted by a column.
            projection.push(0);
        }
        projection.sort_unstable();
        projection.dedup();
        let mut position_of = vec![None; columns];
        for (position, column) in projection.iter().enumerate() {
            position_of[*column] = Some(position);
        }
        let of_stage = stage.projection();
        let dictionaries = extra.iter().copied().filter(|column| !of_stage.contains(column)).collect();
        let reader = log.reader(stream.id(), partition, offset, Some(projection))?.with_dictionaries(dictionaries);
        Ok(Self { reader: reader.selective(condition), position_of })
    }

    /// The next rows, at most `max_rows`.
    pub(crate) async fn next(&mut self, max_rows: usize, stage: &mut Stage) -> Result<Option<StageRows>> {
        let Some(rows) = next_kept(&mut self.reader, max_rows)? else { return Ok(None) };
        let SelectedRows { start_offset, rows: read, batch: input, selected } = rows;
        let count = input.num_rows();
        let selected = selected.unwrap_or_else(|| UInt32Array::from_iter_values(0..count as u32));
        let column = |i: usize| -> ArrayRef {
            match self.position_of.get(i) {
                Some(position) => Arc::clone(input.column(position.expect("the stage's columns are read"))),
                None => Arc::new(selected.clone()),
            }
        };
        let (output, mut failed) = run_stage(stage, count, column).await?;
        for failed in &mut failed {
            failed.row = selected.value(failed.row as usize);
        }
        Ok(Some(StageRows { start_offset, read, output: in_row_order(output)?, input, failed }))
    }

    /// A column of the stream in what was read.
    pub(crate) fn column<'a>(&self, rows: &'a RecordBatch, column: usize) -> &'a ArrayRef {
        rows.column(self.position_of[column].expect("the column was asked for"))
    }

    /// Resolves when there are rows to read.
    pub(crate) async fn wait(&mut self) {
        self.reader.wait().await;
    }

    /// Offset of the next row.
    pub(crate) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Goes on from another offset.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.reader.seek(offset);
    }
}

/// The rows sorted by the input row they came of: a join gives them in the order of its table, per batch.
pub(super) fn in_row_order(output: RecordBatch) -> Result<RecordBatch> {
    let rows = output.column(output.num_columns() - 1).as_primitive::<UInt32Type>().values();
    if rows.is_sorted() {
        return Ok(output);
    }
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    // Stable: the rows that one input row became stay as they are.
    order.sort_by_key(|index| rows[*index as usize]);
    Ok(take_record_batch(&output, &UInt32Array::from(order))?)
}
