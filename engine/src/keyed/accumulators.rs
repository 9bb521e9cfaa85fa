//! Accumulators by slot: one state per group, wherever the group is in its life.

use std::fmt::Debug;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::error::Result;

/// One aggregate function's state for many groups.
///
/// A state that was stored and restored goes on as if nothing had happened: to the bit.
pub(crate) trait SlotAccumulator: Debug + Send {
    /// Makes room for slots below `slots`, all empty.
    fn grow(&mut self, slots: usize);

    /// Adds rows in their order, each to its slot; rows for which the filter is not true are left out.
    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()>;

    /// The results of slots, which stay as they are.
    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef>;

    /// The results of slots, which are empty after it.
    fn take(&mut self, slots: &[u32]) -> Result<ArrayRef>;

    /// The states of slots, as columns.
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

/// The accumulators of an aggregate's functions, and who has which slot.
#[derive(Debug)]
pub(crate) struct Accumulators {
    functions: Vec<Box<dyn SlotAccumulator>>,
    /// Number of state columns of each function.
    widths: Vec<usize>,
    slots: u32,
    free: Vec<u32>,
}

impl Accumulators {
    /// `widths`: the number of state columns of each function.
    pub(crate) fn new(functions: Vec<Box<dyn SlotAccumulator>>, widths: Vec<usize>) -> Self {
        Self { functions, widths, slots: 0, free: Vec::new() }
    }

    /// An empty slot.
    pub(crate) fn allocate(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.slots += 1;
        let slots = (self.slots as usize).next_power_of_two();
        for function in &mut self.functions {
            function.grow(slots);
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
        for ((function, arguments), filter) in self.functions.iter_mut().zip(arguments).zip(filters) {
            function.update(arguments, filter.as_ref(), slots)?;
        }
        Ok(())
    }

    /// Each function's results for slots, which stay as they are.
    pub(crate) fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.functions.iter_mut().map(|function| function.evaluate(slots)).collect()
    }

    /// Each function's results for slots, which are free after it.
    pub(crate) fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let results = self.functions.iter_mut().map(|function| function.take(slots)).collect::<Result<_>>()?;
        self.free.extend(slots);
        Ok(results)
    }

    /// Adds the states of slots, in turn, to those of others, as if the rows of the first had come after.
    pub(crate) fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        self.functions.iter_mut().try_for_each(|function| function.combine(into, from))
    }

    /// Adds states that [`state`](Self::state) gave, here or elsewhere, to slots.
    pub(crate) fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let mut at = 0;
        for (function, width) in self.functions.iter_mut().zip(&self.widths) {
            function.merge(slots, &state[at..at + width])?;
            at += width;
        }
        Ok(())
    }

    /// Frees slots.
    pub(crate) fn release(&mut self, slots: &[u32]) {
        for function in &mut self.functions {
            function.clear(slots);
        }
        self.free.extend(slots);
    }

    /// The states of slots: each function's columns, one after the other.
    pub(crate) fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for function in &mut self.functions {
            columns.extend(function.state(slots)?);
        }
        Ok(columns)
    }

    /// Slots with these states.
    pub(crate) fn restore(&mut self, rows: usize, state: &[ArrayRef]) -> Result<Vec<u32>> {
        let slots: Vec<u32> = (0..rows).map(|_| self.allocate()).collect();
        let mut at = 0;
        for (function, width) in self.functions.iter_mut().zip(&self.widths) {
            function.restore(&slots, &state[at..at + width])?;
            at += width;
        }
        Ok(slots)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.functions.iter().map(|function| function.bytes()).sum::<usize>() + self.free.capacity() * size_of::<u32>()
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
