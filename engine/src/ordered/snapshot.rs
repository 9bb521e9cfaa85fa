//! What a snapshot of an ordered query says: where each partition stood, the rows that waited there, and the operator's state.
//!
//! Its tables are, for each partition of each input in order, the rows that wait, a first column being their event times; then
//! the operator's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::reorder::Run;
use crate::error::Result;
use crate::snapshot::{Format, Place, TableShape, TableState};
use crate::watermark::NO_WATERMARK;

/// How far an ordered query was.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderedPlace {
    /// The watermark that the operator has seen.
    pub(crate) watermark_us: i64,
    /// Every partition of every input, in order.
    pub(crate) partitions: Vec<PartitionPlace>,
}

/// How far a partition was.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct PartitionPlace {
    /// First offset that was not read.
    pub(crate) next_offset: u64,
    /// Its watermark.
    pub(crate) watermark_us: i64,
}

impl Place for OrderedPlace {
    const FORMAT: Format = Format { magic: b"TCORDR", oldest: 2, version: 2 };
}

impl OrderedPlace {
    /// Rows that were read.
    pub(crate) fn rows(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.next_offset).sum()
    }
}

/// Where a partition stood, with its rows.
#[derive(Debug)]
pub(crate) struct PartitionPosition {
    pub(crate) place: PartitionPlace,
    /// The rows that waited.
    pub(crate) runs: Vec<Run>,
}

/// The whole state of an ordered query.
#[derive(Debug)]
pub(crate) struct OrderedState {
    pub(crate) watermark_us: i64,
    /// Every partition of every input, in order.
    pub(crate) partitions: Vec<PartitionPosition>,
    /// The operator's tables.
    pub(crate) operator: Vec<RecordBatch>,
}

impl OrderedState {
    /// The state before any row.
    pub(crate) fn empty() -> Self {
        Self { watermark_us: NO_WATERMARK, partitions: Vec::new(), operator: Vec::new() }
    }

    /// From the tables of a snapshot, which begin with those of these waiting rows.
    pub(crate) fn of(place: OrderedPlace, mut tables: Vec<RecordBatch>, waiting: &[TableShape]) -> Result<Self> {
        let operator = tables.split_off(waiting.len());
        let mut partitions = Vec::with_capacity(waiting.len());
        for ((place, table), shape) in place.partitions.into_iter().zip(tables).zip(waiting) {
            let times = table.column(0).as_primitive::<Int64Type>().values().to_vec();
            let schema = Schema::new(shape.schema.fields()[1..].to_vec());
            let rows = RecordBatch::try_new(Arc::new(schema), table.columns()[1..].to_vec())?;
            partitions.push(PartitionPosition { place, runs: Run::sorted(times, rows)?.into_iter().collect() });
        }
        Ok(Self { watermark_us: place.watermark_us, partitions, operator })
    }
}

/// The table of rows with these columns that wait.
pub(crate) fn waiting_shape(schema: &SchemaRef) -> TableShape {
    let time = Arc::new(Field::new("__time_us", DataType::Int64, false));
    let fields = std::iter::once(time).chain(schema.fields().iter().cloned());
    TableShape::whole(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Rows that wait, which are not copied, with their event times, in the order of their runs.
pub(crate) fn waiting_rows(runs: &[Run], shape: &TableShape) -> Result<TableState> {
    let part = |run: &Run| {
        let (times, rows) = run.waiting();
        let times: ArrayRef = Arc::new(Int64Array::from(times.to_vec()));
        let columns = std::iter::once(times).chain(rows.columns().iter().cloned()).collect();
        Ok(RecordBatch::try_new(Arc::clone(&shape.schema), columns)?)
    };
    Ok(TableState { rows: runs.iter().map(part).collect::<Result<_>>()?, gone: None })
}
