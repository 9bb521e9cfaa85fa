//! Accumulators by slot: one state per group, wherever the group is in its life.

use std::fmt::Debug;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::error::Result;

/// The state of an aggregate function for many groups, or of several functions that are computed together.
///
/// A state that was stored and restored goes on as if nothing had happened: to the bit.
pub(crate) trait SlotAccumulator: Debug + Send {
    /// Makes room for slots below `slots`, all empty.
    fn grow(&mut self, slots: usize);

    /// Adds rows in their order, each to its slot; rows for which the filter is not true are left out.
    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()>;

    /// Each function's results for slots, which stay as they are.
    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Each function's results for slots, which are empty after it.
    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// The states of slots, as columns: those of each function, one after the other.
    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Puts states into empty slots.
    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()>;

    /// Adds the states of slots, in turn, to those of others, as if the rows of the first had come after those of the second.
    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()>;

    /// Adds stored states to slots, as if their rows came now.
    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()>;

    /// Makes slots empty.
    fn clear(&mut self, slots: &[u32]);

    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// An accumulator, and the functions that it has the state of, by their places.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) accumulator: Box<dyn SlotAccumulator>,
    pub(super) functions: Vec<usize>,
}

/// The accumulators of an aggregate's functions, and who has which slot.
#[derive(Debug)]
pub(crate) struct Accumulators {
    computed: Vec<Computed>,
    /// Number of state columns of each function.
    widths: Vec<usize>,
    slots: u32,
    free: Vec<u32>,
}

impl Accumulators {
    /// `widths`: the number of state columns of each function.
    pub(super) fn new(computed: Vec<Computed>, widths: Vec<usize>) -> Self {
        Self { computed, widths, slots: 0, free: Vec::new() }
    }

    /// An empty slot.
    pub(crate) fn allocate(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.slots += 1;
        let slots = (self.slots as usize).next_power_of_two();
        for computed in &mut self.computed {
            computed.accumulator.grow(slots);
        }
        self.slots - 1
    }

    /// Adds rows: each function's arguments and filter, and the slot of each row.
    pub(crate) fn update(
        &mut self,
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
        slots: &[u32],
    ) -> Result<()> {
        for Computed { accumulator, functions } in &mut self.computed {
            // What is computed together has the same ones.
            let first = functions[0];
            accumulator.update(&arguments[first], filters[first].as_ref(), slots)?;
        }
        Ok(())
    }

    /// Each function's results for slots, which stay as they are.
    pub(crate) fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.results(|accumulator| accumulator.evaluate(slots))
    }

    /// Each function's results for slots, which are free after it.
    pub(crate) fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let results = self.results(|accumulator| accumulator.take(slots))?;
        self.free.extend(slots);
        Ok(results)
    }

    fn results(
        &mut self,
        mut results_of: impl FnMut(&mut dyn SlotAccumulator) -> Result<Vec<ArrayRef>>,
    ) -> Result<Vec<ArrayRef>> {
        let mut results = Vec::with_capacity(self.widths.len());
        for Computed { accumulator, functions } in &mut self.computed {
            results.extend(functions.iter().copied().zip(results_of(accumulator.as_mut())?));
        }
        results.sort_unstable_by_key(|(function, _)| *function);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// Adds the states of slots, in turn, to those of others, as if the rows of the first had come after.
    pub(crate) fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        self.computed.iter_mut().try_for_each(|computed| computed.accumulator.combine(into, from))
    }

    /// Adds states that [`state`](Self::state) gave, here or elsewhere, to slots.
    pub(crate) fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.with_states(state, |accumulator, state| accumulator.merge(slots, state))
    }

    /// Frees slots.
    pub(crate) fn release(&mut self, slots: &[u32]) {
        for computed in &mut self.computed {
            computed.accumulator.clear(slots);
        }
        self.free.extend(slots);
    }

    /// The states of slots: each function's columns, one after the other.
    pub(crate) fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for Computed { accumulator, functions } in &mut self.computed {
            let widths = functions.iter().flat_map(|function| std::iter::repeat_n(*function, self.widths[*function]));
            columns.extend(widths.zip(accumulator.state(slots)?));
        }
        // Stable: the columns of a function stay in their order.
        columns.sort_by_key(|(function, _)| *function);
        Ok(columns.into_iter().map(|(_, column)| column).collect())
    }

    /// Slots with these states.
    pub(crate) fn restore(&mut self, rows: usize, state: &[ArrayRef]) -> Result<Vec<u32>> {
        let slots: Vec<u32> = (0..rows).map(|_| self.allocate()).collect();
        self.with_states(state, |accumulator, state| accumulator.restore(&slots, state))?;
        Ok(slots)
    }

    /// Hands each accumulator its columns of a state.
    fn with_states(
        &mut self,
        state: &[ArrayRef],
        mut put: impl FnMut(&mut dyn SlotAccumulator, &[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        for Computed { accumulator, functions } in &mut self.computed {
            let columns = functions.iter().flat_map(|function| {
                let start = self.widths[..*function].iter().sum();
                &state[start..start + self.widths[*function]]
            });
            put(accumulator.as_mut(), &columns.cloned().collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let states: usize = self.computed.iter().map(|computed| computed.accumulator.bytes()).sum();
        states + self.free.capacity() * size_of::<u32>()
    }
}

/// Calls `add` for each row that counts: not NULL in `argument`, and let through by the filter.
pub(super) fn for_each_counted<T: Copy>(
    values: &[T],
    nulls: Option<&arrow::buffer::NullBuffer>,
    filter: Option<&BooleanArray>,
    slots: &[u32],
    mut add: impl FnMut(usize, T),
) {
    if nulls.is_none() && filter.is_none() {
        for (slot, value) in slots.iter().zip(values) {
            add(*slot as usize, *value);
        }
        return;
    }
    for (row, (slot, value)) in slots.iter().zip(values).enumerate() {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) && is_let_through(filter, row) {
            add(*slot as usize, *value);
        }
    }
}

/// Whether a filter, if there is one, is true for a row.
pub(super) fn is_let_through(filter: Option<&BooleanArray>, row: usize) -> bool {
    use arrow::array::Array;
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}
