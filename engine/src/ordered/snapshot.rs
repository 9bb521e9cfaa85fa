//! Snapshot files of ordered queries: where each partition stood, the rows that waited there, and the operator's state.
//!
//! The file is one of `snapshot_file.rs` with the magic "TCORDR"; its header lists the lengths of the tables: for each partition in
//! order its waiting rows, a first column being their event times; then the operator's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use thermocline_log::Log;

use super::reorder::Run;
use crate::error::{Error, Result};
use crate::snapshot_file::{Format, Mismatch, append_table, broken, take_table};
use crate::watermark::NO_WATERMARK;

const FORMAT: Format = Format { magic: b"TCORDR", oldest: 1, version: 1 };

/// Where a partition stood.
#[derive(Debug, Clone)]
pub(crate) struct PartitionPosition {
    /// First offset that was not read.
    pub(crate) next_offset: u64,
    /// Its watermark.
    pub(crate) watermark_us: i64,
    /// The rows that waited.
    pub(crate) runs: Vec<Run>,
}

/// The state of an ordered query.
#[derive(Debug)]
pub(crate) struct OrderedState {
    /// The watermark that the operator has seen.
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
}

#[derive(Serialize, Deserialize)]
struct Header {
    watermark_us: i64,
    partitions: Vec<PartitionHeader>,
    operator: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct PartitionHeader {
    next_offset: u64,
    watermark_us: i64,
    bytes: usize,
}

/// Writes a state to a state file of its own and makes it durable. `schemas`: the columns of each partition's waiting rows.
pub(crate) fn write_state(log: &Log, name: &str, state: &OrderedState, schemas: &[SchemaRef]) -> Result<()> {
    Ok(log.write_state_file(name, &encode(state, schemas)?)?)
}

/// Reads a state that [`write_state`] wrote; `None` when its tables have other columns than these.
pub(crate) fn read_state(
    log: &Log,
    name: &str,
    inputs: &[SchemaRef],
    operator: &[SchemaRef],
) -> Result<Option<OrderedState>> {
    decode(&log.read_state_file(name)?, inputs, operator).map_err(|(expected, found)| Error::State {
        name: log.state_dir().join(name).display().to_string(),
        expected,
        found,
    })
}

fn encode(state: &OrderedState, schemas: &[SchemaRef]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut partitions = Vec::with_capacity(state.partitions.len());
    for (partition, schema) in state.partitions.iter().zip(schemas) {
        let rows = waiting_rows(&partition.runs, schema)?;
        let bytes = append_table(&rows, &mut body)?;
        let PartitionPosition { next_offset, watermark_us, .. } = *partition;
        partitions.push(PartitionHeader { next_offset, watermark_us, bytes });
    }
    let operator = state.operator.iter().map(|table| append_table(table, &mut body)).collect::<Result<_, _>>()?;
    let header = Header { watermark_us: state.watermark_us, partitions, operator };
    Ok(FORMAT.encode(&header, &body))
}

/// Event times and columns of rows that wait, in the order of their runs.
fn waiting_rows(runs: &[Run], schema: &SchemaRef) -> Result<RecordBatch> {
    let (times, batches): (Vec<&[i64]>, Vec<RecordBatch>) = runs.iter().map(Run::waiting).unzip();
    let rows = concat_batches(schema, &batches)?;
    let times: ArrayRef = Arc::new(Int64Array::from(times.concat()));
    let columns = std::iter::once(times).chain(rows.columns().iter().cloned()).collect();
    Ok(RecordBatch::try_new(with_times(schema), columns)?)
}

fn with_times(schema: &SchemaRef) -> SchemaRef {
    let time = Arc::new(Field::new("__time_us", DataType::Int64, false));
    Arc::new(Schema::new(std::iter::once(time).chain(schema.fields().iter().cloned()).collect::<Vec<_>>()))
}

fn decode(bytes: &[u8], inputs: &[SchemaRef], operator: &[SchemaRef]) -> Result<Option<OrderedState>, Mismatch> {
    let (header, mut body): (Header, _) = FORMAT.decode(bytes)?;
    if header.partitions.len() != inputs.len() || header.operator.len() != operator.len() {
        return Ok(None);
    }
    let mut partitions = Vec::with_capacity(inputs.len());
    for (partition, schema) in header.partitions.iter().zip(inputs) {
        let Some(table) = take_table(&mut body, partition.bytes, &with_times(schema))? else { return Ok(None) };
        let times = table.column(0).as_primitive::<Int64Type>().values().to_vec();
        let rows = RecordBatch::try_new(Arc::clone(schema), table.columns()[1..].to_vec()).map_err(broken)?;
        let run = Run::sorted(times, rows).map_err(|e| ("rows that can be sorted".to_owned(), e.to_string()))?;
        partitions.push(PartitionPosition {
            next_offset: partition.next_offset,
            watermark_us: partition.watermark_us,
            runs: run.into_iter().collect(),
        });
    }
    let mut tables = Vec::with_capacity(operator.len());
    for (length, schema) in header.operator.iter().zip(operator) {
        let Some(table) = take_table(&mut body, *length, schema)? else { return Ok(None) };
        tables.push(table);
    }
    Ok(Some(OrderedState { watermark_us: header.watermark_us, partitions, operator: tables }))
}
