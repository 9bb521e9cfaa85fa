//! `OVER`: each row with the results of window calls over the rows of its key, which come in event-time order.
//!
//! A row is complete when the last of its frames is: at its own time when no call looks ahead; a distance later where a
//! frame reaches so far by time; with the following rows of its key where it counts rows, or when its key ends. Rows are
//! emitted by (moment at which they are complete, their order).
//!
//! Of a key are kept the rows that frames can still need, a counter, and the states of running aggregates. Frames are
//! computed anew from their rows, so that what was before them leaves no trace in the results.

mod by_key;
mod framed;
mod held;
mod keys;
mod owners;
mod running;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, DataFusionError};
use thermocline_sql::{OverCall, OverFunction, OverShape};

pub(crate) use self::by_key::OverByKey;
use self::held::HeldRows;
use self::keys::Keys;
use self::owners::{Complete, EVERYONE};
use super::operator::{OrderedOperator, OrderedRows};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::snapshot::{TableShape, TableState};

/// Rows that nobody needs and that are held all the same, at most as many as are needed and these.
const SLACK_ROWS: usize = 16_384;

/// Window calls over one stream.
#[derive(Debug)]
pub(crate) struct Over {
    /// This many first columns go through.
    passed: usize,
    calls: usize,
    partitions: Vec<Keys>,
    /// Which of them has calls that look ahead.
    ahead: Option<usize>,
    /// Columns of the input that are held.
    kept: Vec<usize>,
    /// Rows that frames need.
    inputs: HeldRows,
    /// Results of calls that do not look ahead, of rows that wait for the others.
    results: HeldRows,
    /// Those calls.
    behind: Vec<usize>,
    complete: Complete,
    ready: Vec<RecordBatch>,
    next_number: u64,
    state_shapes: Vec<TableShape>,
}

impl Over {
    pub(crate) fn try_new(shape: &OverShape, input: &DFSchema) -> Result<Self> {
        let looks_ahead = shape.calls.iter().any(|call| call.function.looks_ahead());
        // The stage's last column is the number of the row.
        let columns = input.fields().len() - 1;
        let kept: Vec<usize> = match looks_ahead {
            true => (0..columns).collect(),
            false => framed_columns(&shape.calls, input).into_iter().collect(),
        };
        let held: Vec<Arc<Field>> = kept.iter().map(|index| Arc::clone(&input.fields()[*index])).collect();
        let held = Arc::new(Schema::new(held));
        let held_schema = DFSchema::try_from(Arc::clone(&held))?;
        let mut partitions = Vec::new();
        let mut rest: Vec<(usize, &OverCall)> = shape.calls.iter().enumerate().collect();
        while let Some((_, first)) = rest.first().copied() {
            let (same, others) = rest.into_iter().partition(|(_, call)| call.partition == first.partition);
            let same: Vec<_> = same;
            partitions.push(Keys::try_new(&same, input, &held_schema)?);
            rest = others;
        }
        let behind: Vec<usize> = match looks_ahead {
            true => (0..shape.calls.len()).filter(|n| !shape.calls[*n].function.looks_ahead()).collect(),
            false => Vec::new(),
        };
        let result = |n: &usize| Field::new(format!("call{n}"), shape.calls[*n].data_type.clone(), true);
        let results = Arc::new(Schema::new(behind.iter().map(result).collect::<Vec<_>>()));
        let mut state_shapes = vec![HeldRows::state_shape(&held), HeldRows::state_shape(&results)];
        for partition in &partitions {
            state_shapes.extend(partition.state_shapes().iter().cloned());
        }
        Ok(Self {
            passed: shape.passed,
            calls: shape.calls.len(),
            ahead: partitions.iter().position(Keys::looks_ahead),
            partitions,
            kept,
            inputs: HeldRows::new(held),
            results: HeldRows::new(results),
            behind,
            complete: Complete::default(),
            ready: Vec::new(),
            next_number: 0,
            state_shapes,
        })
    }

    fn needed(&self) -> Vec<u64> {
        let needed: BTreeSet<u64> = self.partitions.iter().flat_map(Keys::needed).collect();
        needed.into_iter().collect()
    }

    /// Rows as they are emitted: the columns that go through, then the results.
    fn output(&self, passed: &[ArrayRef], results: Vec<Option<ArrayRef>>, rows: usize) -> Result<RecordBatch> {
        let results = results.into_iter().map(|result| result.expect("every call has a result"));
        let columns: Vec<ArrayRef> = passed[..self.passed].iter().cloned().chain(results).collect();
        let field = |(n, column): (usize, &ArrayRef)| Field::new(format!("c{n}"), column.data_type().clone(), true);
        let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
    }

    /// The rows of an owner that are complete before its watermark.
    fn take_complete(&mut self, owner: u32, watermark_us: i64, rows: &mut Vec<(u32, u64)>) {
        while let Some(row) = self.complete.pop_before(owner, watermark_us) {
            rows.push(row);
        }
    }

    /// Rows that are complete, as (key, number), with the results of calls that look ahead.
    fn emit_complete(&mut self, rows: Vec<(u32, u64)>) -> Result<()> {
        let Some(ahead) = self.ahead.filter(|_| !rows.is_empty()) else { return Ok(()) };
        let mut results: Vec<Option<ArrayRef>> = vec![None; self.calls];
        self.partitions[ahead].evaluate_ahead(&rows, &self.inputs, &mut results)?;
        let numbers: Vec<u64> = rows.into_iter().map(|(_, number)| number).collect();
        for (call, result) in self.behind.iter().zip(self.results.gather(&numbers)?.columns()) {
            results[*call] = Some(Arc::clone(result));
        }
        let passed = self.inputs.gather(&numbers)?;
        let output = self.output(passed.columns(), results, numbers.len())?;
        self.ready.push(output);
        Ok(())
    }

    fn forget_unneeded(&mut self) -> Result<()> {
        let needed: usize = self.partitions.iter().map(Keys::entries).sum();
        if self.inputs.rows() <= 2 * needed + SLACK_ROWS {
            return Ok(());
        }
        let needed = self.needed();
        if self.ahead.is_some() {
            self.results.retain(needed.clone())?;
        }
        self.inputs.retain(needed)
    }

    /// For each owner, the watermark that completes all rows that any watermark completes.
    fn horizons_us(&self) -> BTreeMap<u32, i64> {
        let mut horizons = self.ahead.map_or_else(BTreeMap::new, |ahead| self.partitions[ahead].horizons_us());
        for (owner, last_us) in self.complete.last_us() {
            let horizon_us = horizons.entry(owner).or_insert(i64::MIN);
            *horizon_us = last_us.saturating_add(1).max(*horizon_us);
        }
        horizons
    }

    /// Takes rows; `owners`: for each, whose watermark its key goes by, where there are several.
    fn add(&mut self, rows: &OrderedRows, owners: Option<&[u32]>) -> Result<()> {
        let batch = &rows.batches[0];
        let first = self.next_number;
        self.next_number += batch.num_rows() as u64;
        let mut results: Vec<Option<ArrayRef>> = vec![None; self.calls];
        for partition in &mut self.partitions {
            partition.add(batch, &rows.times_us, owners, first, &mut results)?;
        }
        if self.partitions.iter().any(Keys::has_frames) {
            self.inputs.push(first, batch.project(&self.kept)?)?;
        }
        for partition in &mut self.partitions {
            partition.evaluate_behind(&self.inputs, &mut results)?;
        }
        let Some(ahead) = self.ahead else {
            let output = self.output(batch.columns(), results, batch.num_rows())?;
            self.ready.push(output);
            return Ok(());
        };
        let columns = self.behind.iter().map(|call| results[*call].take().expect("it does not look ahead")).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let results = RecordBatch::try_new_with_options(Arc::clone(self.results.schema()), columns, &options);
        self.results.push(first, results.map_err(DataFusionError::from)?)?;
        self.partitions[ahead].complete(&mut self.complete);
        Ok(())
    }
}

/// Columns of the input that frames read.
fn framed_columns(calls: &[OverCall], input: &DFSchema) -> BTreeSet<usize> {
    let mut columns = BTreeSet::new();
    for call in calls {
        let exprs = match &call.function {
            OverFunction::Number(_) | OverFunction::Running { .. } => continue,
            OverFunction::Aggregate { aggregate, .. } => std::slice::from_ref(aggregate),
            OverFunction::Shift { value, .. } => std::slice::from_ref(value),
            OverFunction::Window { arguments, .. } => arguments,
        };
        let names = exprs.iter().flat_map(|expr| expr.column_refs());
        columns.extend(names.filter_map(|column| input.maybe_index_of_column(column)));
    }
    columns
}

impl OrderedOperator for Over {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        self.add(rows, None)
    }

    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        for partition in &mut self.partitions {
            partition.find_due(EVERYONE, watermark_us, &mut self.complete);
        }
        let mut rows = Vec::new();
        self.take_complete(EVERYONE, watermark_us, &mut rows);
        self.emit_complete(rows)?;
        for partition in &mut self.partitions {
            partition.prune(&|_| watermark_us)?;
        }
        self.forget_unneeded()?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// Rows that wait for a number of rows of a key that has no end go on waiting.
    fn horizon_us(&self) -> Option<i64> {
        self.horizons_us().into_values().max()
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        let [inputs, results, ..] = self.state_shapes.as_slice() else { unreachable!("both are there") };
        let mut tables = vec![self.inputs.state(inputs)?, self.results.state(results)?];
        for partition in &mut self.partitions {
            tables.extend(partition.state()?);
        }
        Ok(tables)
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        self.partitions.iter_mut().filter_map(Keys::tracked).collect()
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let [inputs, results, partitions @ ..] = state else { return Ok(()) };
        self.inputs.restore(inputs)?;
        self.results.restore(results)?;
        for (partition, tables) in self.partitions.iter_mut().zip(partitions.chunks(2)) {
            partition.restore(&tables[0], &tables[1], &mut self.complete)?;
        }
        self.next_number = self.inputs.end().max(self.results.end());
        Ok(())
    }

    fn bytes(&self) -> usize {
        let partitions: usize = self.partitions.iter().map(Keys::bytes).sum();
        let ready: usize = self.ready.iter().map(RecordBatch::get_array_memory_size).sum();
        partitions + self.inputs.bytes() + self.results.bytes() + self.complete.bytes() + ready
    }
}
