//! Functions of DataFusion whose results depend on how their rows are cut into batches, or that are not quite the same
//! after a state was stored and restored: sketches, and sums of floats in states that are merged.
//!
//! They are given their rows in chunks of a fixed number of a slot's rows, and their state is read and merged again after each.
//! Where batches end and when a state is stored then changes nothing: what is stored is the state after the last whole
//! chunk, and the rows since.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_empty_array};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::scalar::ScalarValue;

use super::accumulators::{SlotAccumulator, is_let_through};

/// Rows that a function is given at once.
const CHUNK_ROWS: usize = 128;

/// Rows and states of slots.
pub(super) struct ChunkedSlots {
    function: Arc<AggregateFunctionExpr>,
    types: Vec<DataType>,
    slots: Vec<Chunks>,
    bytes: usize,
}

/// The rows of a slot.
#[derive(Debug, Clone, Default)]
struct Chunks {
    /// After the whole chunks, if there was one.
    state: Option<Vec<ScalarValue>>,
    /// The rows since, one list for each argument.
    rest: Vec<Vec<ScalarValue>>,
}

impl std::fmt::Debug for ChunkedSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkedSlots").field("function", &self.function.name()).finish_non_exhaustive()
    }
}

impl ChunkedSlots {
    /// `types`: those of the arguments, at least one.
    pub(super) fn new(function: Arc<AggregateFunctionExpr>, types: Vec<DataType>) -> Self {
        debug_assert!(!types.is_empty(), "rows are counted by an argument");
        Self { function, types, slots: Vec::new(), bytes: 0 }
    }

    /// An accumulator that was given all rows of a slot.
    fn accumulator(&self, chunks: &Chunks) -> Result<Box<dyn Accumulator>> {
        let mut accumulator = self.function.create_accumulator()?;
        if let Some(state) = &chunks.state {
            accumulator.merge_batch(&arrays(state)?)?;
        }
        if chunks.rest.first().is_some_and(|values| !values.is_empty()) {
            let rest = chunks.rest.iter().map(|values| ScalarValue::iter_to_array(values.iter().cloned()));
            accumulator.update_batch(&rest.collect::<Result<Vec<_>>>()?)?;
        }
        Ok(accumulator)
    }

    /// A row of the columns that `state` gave.
    fn stored(&self, state: &[ArrayRef], row: usize) -> Result<Chunks> {
        let (whole, lists) = (state[0].as_boolean(), state.len() - self.types.len());
        let values = state[1..lists].iter().map(|column| ScalarValue::try_from_array(column, row));
        let values = whole.value(row).then(|| values.collect::<Result<_>>()).transpose()?;
        let list = |column: &ArrayRef| {
            let list = column.as_list::<i32>().value(row);
            (0..list.len()).map(|at| ScalarValue::try_from_array(&list, at)).collect::<Result<Vec<_>>>()
        };
        let rest = state[lists..].iter().map(list).collect::<Result<_>>()?;
        Ok(Chunks { state: values, rest })
    }

    /// Adds all rows of another slot: both sides become one state.
    fn add(&mut self, slot: u32, from: &Chunks) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        if self.slots[slot as usize].is_empty() {
            self.put(slot, from.clone());
            return Ok(());
        }
        let mut into = self.accumulator(&self.slots[slot as usize])?;
        into.merge_batch(&arrays(&self.accumulator(from)?.state()?)?)?;
        let state = Some(into.state()?);
        self.put(slot, Chunks { state, rest: Vec::new() });
        Ok(())
    }

    fn put(&mut self, slot: u32, chunks: Chunks) -> Chunks {
        self.bytes += chunks.bytes();
        let before = std::mem::replace(&mut self.slots[slot as usize], chunks);
        self.bytes = self.bytes.saturating_sub(before.bytes());
        before
    }
}

impl Chunks {
    fn is_empty(&self) -> bool {
        self.state.is_none() && self.rest.first().is_none_or(Vec::is_empty)
    }

    fn bytes(&self) -> usize {
        let lists: usize = self.state.iter().chain(&self.rest).map(list_bytes).sum();
        lists + self.rest.capacity() * size_of::<Vec<ScalarValue>>()
    }
}

/// Bytes of a list, its room included.
fn list_bytes(values: &Vec<ScalarValue>) -> usize {
    values.capacity() * size_of::<ScalarValue>() + values.iter().map(beside).sum::<usize>()
}

/// Bytes that a value holds besides itself.
fn beside(value: &ScalarValue) -> usize {
    value.size() - size_of::<ScalarValue>()
}

fn arrays(values: &[ScalarValue]) -> Result<Vec<ArrayRef>> {
    values.iter().map(|value| value.to_array_of_size(1)).collect()
}

impl SlotAccumulator for ChunkedSlots {
    fn grow(&mut self, slots: usize) {
        if slots > self.slots.len() {
            self.slots.resize(slots, Chunks::default());
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate().filter(|(row, _)| is_let_through(filter, *row)) {
            let chunks = &mut self.slots[*slot as usize];
            if chunks.rest.is_empty() {
                chunks.rest.resize(arguments.len(), Vec::new());
                self.bytes += chunks.rest.capacity() * size_of::<Vec<ScalarValue>>();
            }
            for (values, argument) in chunks.rest.iter_mut().zip(arguments) {
                let value = ScalarValue::try_from_array(argument, row)?;
                let room = values.capacity();
                self.bytes += beside(&value);
                values.push(value);
                self.bytes += (values.capacity() - room) * size_of::<ScalarValue>();
            }
            if chunks.rest[0].len() == CHUNK_ROWS {
                let chunks = std::mem::take(chunks);
                self.bytes = self.bytes.saturating_sub(chunks.bytes());
                let state = Some(self.accumulator(&chunks)?.state()?);
                self.put(*slot, Chunks { state, rest: Vec::new() });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        if slots.is_empty() {
            return Ok(vec![new_empty_array(self.function.field().data_type())]);
        }
        let results = slots.iter().map(|slot| self.accumulator(&self.slots[*slot as usize])?.evaluate());
        Ok(vec![ScalarValue::iter_to_array(results.collect::<Result<Vec<_>>>()?)?])
    }

    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        if slots.is_empty() {
            return Ok(vec![new_empty_array(self.function.field().data_type())]);
        }
        let mut results = Vec::with_capacity(slots.len());
        for slot in slots {
            let chunks = self.put(*slot, Chunks::default());
            results.push(self.accumulator(&chunks)?.evaluate()?);
        }
        Ok(vec![ScalarValue::iter_to_array(results)?])
    }

    /// Whether there was a whole chunk, the state after it, the rows since as a list for each argument.
    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        // Where there is no state, one of no rows tells the types.
        let empty = self.function.create_accumulator()?.state()?;
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); 1 + empty.len() + self.types.len()];
        let none = Chunks::default();
        let held = slots.iter().map(|slot| &self.slots[*slot as usize]);
        // One row more, so that there is one that tells the types; it is cut off again.
        for Chunks { state, rest } in held.chain([&none]) {
            let lists = self.types.iter().enumerate().map(|(n, data_type)| {
                ScalarValue::List(ScalarValue::new_list(rest.get(n).map_or(&[], Vec::as_slice), data_type, true))
            });
            let whole = std::iter::once(ScalarValue::Boolean(Some(state.is_some())));
            let values = whole.chain(state.as_ref().unwrap_or(&empty).iter().cloned()).chain(lists);
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
        }
        columns.into_iter().map(|column| Ok(ScalarValue::iter_to_array(column)?.slice(0, slots.len()))).collect()
    }

    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        for (into, from) in into.iter().zip(from) {
            let from = self.slots[*from as usize].clone();
            self.add(*into, &from)?;
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let chunks = self.stored(state, row)?;
            self.add(*slot, &chunks)?;
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.put(*slot, Chunks::default());
        }
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let chunks = self.stored(state, row)?;
            self.put(*slot, chunks);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Chunks>() + self.bytes
    }
}
