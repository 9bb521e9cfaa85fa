//! Any other function of DataFusion: an accumulator of its own per slot.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow::compute::take;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::scalar::ScalarValue;

use super::accumulators::{SlotAccumulator, is_let_through};

/// Accumulators that are made when the first row comes.
pub(super) struct AnySlots {
    function: Arc<AggregateFunctionExpr>,
    states: Vec<Option<Box<dyn Accumulator>>>,
    bytes: usize,
}

impl std::fmt::Debug for AnySlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnySlots").field("function", &self.function.name()).finish_non_exhaustive()
    }
}

impl AnySlots {
    pub(super) fn new(function: Arc<AggregateFunctionExpr>) -> Self {
        Self { function, states: Vec::new(), bytes: 0 }
    }

    /// Works on a slot's accumulator and keeps count of its bytes.
    fn with<T>(&mut self, slot: u32, work: impl FnOnce(&mut dyn Accumulator) -> Result<T>) -> Result<T> {
        let held = &mut self.states[slot as usize];
        let before = held.as_ref().map_or(0, |accumulator| accumulator.size());
        let accumulator = match held {
            Some(accumulator) => accumulator,
            None => held.insert(self.function.create_accumulator()?),
        };
        let done = work(accumulator.as_mut())?;
        self.bytes = (self.bytes + accumulator.size()).saturating_sub(before);
        Ok(done)
    }

    fn forget(&mut self, slot: u32) -> Option<Box<dyn Accumulator>> {
        let accumulator = self.states[slot as usize].take()?;
        self.bytes = self.bytes.saturating_sub(accumulator.size());
        Some(accumulator)
    }
}

impl SlotAccumulator for AnySlots {
    fn grow(&mut self, slots: usize) {
        if slots > self.states.len() {
            self.states.resize_with(slots, || None);
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        let mut rows: Vec<u32> = (0..slots.len() as u32).filter(|row| is_let_through(filter, *row as usize)).collect();
        // Stable: a slot's rows stay in their order.
        rows.sort_by_key(|row| slots[*row as usize]);
        let order = UInt32Array::from(rows);
        let sorted = arguments.iter().map(|argument| Ok(take(argument, &order, None)?)).collect::<Result<Vec<_>>>()?;
        let slot_of = |row: &u32| slots[*row as usize];
        let mut start = 0;
        for same in order.values().chunk_by(|a, b| slot_of(a) == slot_of(b)) {
            let arguments: Vec<ArrayRef> = sorted.iter().map(|argument| argument.slice(start, same.len())).collect();
            self.with(slot_of(&same[0]), |accumulator| accumulator.update_batch(&arguments))?;
            start += same.len();
        }
        Ok(())
    }

    /// As for a window function: an accumulator may be evaluated after every row.
    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        if slots.is_empty() {
            return Ok(vec![new_empty_array(self.function.field().data_type())]);
        }
        let results = slots.iter().map(|slot| self.with(*slot, |accumulator| accumulator.evaluate()));
        Ok(vec![ScalarValue::iter_to_array(results.collect::<Result<Vec<_>>>()?)?])
    }

    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        if slots.is_empty() {
            return Ok(vec![new_empty_array(self.function.field().data_type())]);
        }
        let results = slots.iter().map(|slot| match self.forget(*slot) {
            Some(mut accumulator) => accumulator.evaluate(),
            None => self.function.create_accumulator()?.evaluate(),
        });
        Ok(vec![ScalarValue::iter_to_array(results.collect::<Result<Vec<_>>>()?)?])
    }

    /// Reading a state may empty an accumulator, so that each goes on from what was read, as after a restart.
    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let fields = self.function.state_fields()?;
        if slots.is_empty() {
            return Ok(fields.iter().map(|field| new_empty_array(field.data_type())).collect());
        }
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); fields.len()];
        for slot in slots {
            let state = match self.forget(*slot) {
                Some(mut accumulator) => accumulator.state()?,
                None => self.function.create_accumulator()?.state()?,
            };
            for (column, value) in columns.iter_mut().zip(state) {
                column.push(value);
            }
        }
        let columns: Vec<ArrayRef> = columns.into_iter().map(ScalarValue::iter_to_array).collect::<Result<_>>()?;
        self.restore(slots, &columns)?;
        Ok(columns)
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let state: Vec<ArrayRef> = state.iter().map(|column| column.slice(row, 1)).collect();
            self.with(*slot, |accumulator| accumulator.merge_batch(&state))?;
        }
        Ok(())
    }

    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        let state = self.state(from)?;
        self.merge(into, &state)
    }

    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.restore(slots, state)
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.forget(*slot);
        }
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<Option<Box<dyn Accumulator>>>() + self.bytes
    }
}
