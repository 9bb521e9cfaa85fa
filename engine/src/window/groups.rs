//! Keyed accumulators: DataFusion's vectorised grouping, fed and emptied by hand.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::aggregate::WindowAggregate;

/// The keys seen so far and an accumulator per function. Rows are added in order, one by one per group, so that a
/// result does not depend on how the rows were cut into batches.
pub(crate) struct Groups {
    /// `None` without keys: everything is one group.
    values: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    indices: Vec<usize>,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Groups {
    pub(crate) fn new(aggregate: &WindowAggregate) -> Result<Self> {
        let keys = aggregate.key_schema();
        let values = match keys.fields().is_empty() {
            true => None,
            false => Some(new_group_values(keys.clone(), &GroupOrdering::None)?),
        };
        Ok(Self { values, accumulators: aggregate.accumulators()?, indices: Vec::new() })
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let values = self.values.as_ref().map_or(0, |values| values.size());
        values + self.accumulators.iter().map(|a| a.size()).sum::<usize>()
    }

    /// Adds rows: their keys, and each function's arguments and filter.
    pub(crate) fn update(
        &mut self,
        rows: usize,
        keys: &[ArrayRef],
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<()> {
        self.intern(rows, keys)?;
        let groups = self.len();
        for ((accumulator, arguments), filter) in self.accumulators.iter_mut().zip(arguments).zip(filters) {
            accumulator.update_batch(arguments, &self.indices, filter.as_ref(), groups)?;
        }
        Ok(())
    }

    /// Adds a partial state made by [`into_state`](Self::into_state).
    pub(crate) fn merge(&mut self, aggregate: &WindowAggregate, state: &RecordBatch) -> Result<()> {
        let (keys, states) = state.columns().split_at(aggregate.key_schema().fields().len());
        self.intern(state.num_rows(), keys)?;
        let groups = self.len();
        let mut at = 0;
        for (accumulator, width) in self.accumulators.iter_mut().zip(aggregate.state_widths()) {
            accumulator.merge_batch(&states[at..at + width], &self.indices, groups)?;
            at += width;
        }
        Ok(())
    }

    /// The keys and each function's state, keys in the order they were first seen.
    pub(crate) fn into_state(mut self, aggregate: &WindowAggregate) -> Result<RecordBatch> {
        let mut columns = self.emit_keys()?;
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let schema = aggregate.state_schema().clone();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(columns.first().map_or(1, |c| c.len())));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// The keys and each function's result.
    pub(crate) fn into_results(mut self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let keys = self.emit_keys()?;
        let results = self.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All)).collect::<Result<_>>()?;
        Ok((keys, results))
    }

    /// Adds the keys of a state without its values, and says which of its rows have one of the first `count` keys.
    pub(crate) fn are_among(
        &mut self,
        aggregate: &WindowAggregate,
        state: &RecordBatch,
        count: usize,
    ) -> Result<BooleanArray> {
        let (keys, _) = state.columns().split_at(aggregate.key_schema().fields().len());
        self.intern(state.num_rows(), keys)?;
        Ok(self.indices.iter().map(|index| Some(*index < count)).collect())
    }

    fn emit_keys(&mut self) -> Result<Vec<ArrayRef>> {
        match &mut self.values {
            Some(values) => values.emit(EmitTo::All),
            None => Ok(Vec::new()),
        }
    }

    fn intern(&mut self, rows: usize, keys: &[ArrayRef]) -> Result<()> {
        match &mut self.values {
            Some(values) => values.intern(keys, &mut self.indices),
            None => {
                self.indices.clear();
                self.indices.resize(rows, 0);
                Ok(())
            }
        }
    }
}
