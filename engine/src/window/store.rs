//! Keys and accumulators that all panes of a partition share: a key is known once, whatever the number of panes it has
//! rows in.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter, take};
use datafusion::error::Result;

use super::aggregate::WindowAggregate;
use super::groups::{Groups, NONE};
use super::pane::Pane;
use crate::keyed::{Accumulators, KeyTable};

/// Keys and accumulators.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) keys: KeyTable,
    pub(super) accumulators: Accumulators,
    /// In how many panes each key is; one that is in none is forgotten.
    holders: Vec<u32>,
    sorted: Sorted,
}

/// All keys in their order, as they were at a version of the table.
#[derive(Debug, Default)]
struct Sorted {
    version: Option<u64>,
    numbers: Vec<u32>,
    columns: Vec<ArrayRef>,
    /// Where each number is in `numbers`.
    ranks: Vec<u32>,
}

/// Some groups of a partition, in key order.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) keys: Vec<u32>,
    pub(super) slots: Vec<u32>,
    /// Slots that were made for it.
    pub(super) temporary: Vec<u32>,
}

impl Store {
    pub(super) fn new(aggregate: &WindowAggregate) -> Result<Self> {
        Ok(Self {
            keys: KeyTable::new(aggregate.functions.key_schema())?,
            accumulators: aggregate.functions.accumulators()?,
            holders: Vec::new(),
            sorted: Sorted::default(),
        })
    }

    /// The slot of a key in a pane, a new one where it has none.
    pub(super) fn slot(&mut self, groups: &mut Groups, key: u32) -> u32 {
        if let Some(slot) = groups.slot(key) {
            return slot;
        }
        let slot = self.accumulators.allocate();
        self.put(groups, key, slot);
        slot
    }

    /// The slots of rows, each with its key and the index of its pane.
    pub(super) fn slots(&mut self, panes: &mut [Pane], keys: &[u32], pane_of: &[u32], slots: &mut Vec<u32>) {
        slots.clear();
        let known: Vec<&[u32]> = panes.iter().map(|pane| pane.groups.dense()).collect();
        let mut all_known = true;
        slots.extend(keys.iter().zip(pane_of).map(|(key, pane)| {
            let slot = known[*pane as usize].get(*key as usize).copied().unwrap_or(NONE);
            all_known &= slot != NONE;
            slot
        }));
        if all_known {
            return;
        }
        for (slot, (key, pane)) in slots.iter_mut().zip(keys.iter().zip(pane_of)) {
            if *slot == NONE {
                *slot = self.slot(&mut panes[*pane as usize].groups, *key);
            }
        }
    }

    fn put(&mut self, groups: &mut Groups, key: u32, slot: u32) {
        groups.insert(key, slot);
        if self.holders.len() <= key as usize {
            self.holders.resize(self.keys.numbers(), 0);
        }
        self.holders[key as usize] += 1;
    }

    /// Adds all groups of one pane to those of another, as if their rows came now.
    pub(super) fn add(&mut self, into: &mut Groups, from: &Groups) -> Result<()> {
        into.reserve_as(from);
        let (mut to, mut of) = (Vec::with_capacity(from.len()), Vec::with_capacity(from.len()));
        for (key, slot) in from.iter() {
            to.push(self.slot(into, key));
            of.push(slot);
        }
        self.accumulators.combine(&to, &of)
    }

    /// Frees the slots of a pane, and forgets keys that are in no other.
    pub(super) fn release(&mut self, groups: &Groups) {
        let mut slots = Vec::with_capacity(groups.len());
        for (key, slot) in groups.iter() {
            slots.push(slot);
            let holders = &mut self.holders[key as usize];
            *holders -= 1;
            if *holders == 0 {
                self.keys.remove(key);
            }
        }
        self.accumulators.release(&slots);
    }

    /// The groups of several panes, added up in the order of these; only `wanted` keys, which are in their order, where that is
    /// given.
    pub(super) fn select(&mut self, parts: &[&Groups], wanted: Option<Vec<u32>>) -> Result<Selection> {
        let keys = match wanted {
            Some(wanted) => wanted,
            None => self.keys_of(parts),
        };
        let mut selection = Selection::default();
        let (mut into, mut from) = (Vec::new(), Vec::new());
        for key in keys {
            let mut slots = parts.iter().filter_map(|part| part.slot(key));
            let Some(first) = slots.next() else { continue };
            let mut slot = first;
            for other in slots {
                if slot == first {
                    slot = self.accumulators.allocate();
                    selection.temporary.push(slot);
                    into.push(slot);
                    from.push(first);
                }
                into.push(slot);
                from.push(other);
            }
            selection.keys.push(key);
            selection.slots.push(slot);
        }
        self.accumulators.combine(&into, &from)?;
        Ok(selection)
    }

    /// Keys in their order: those of these panes, and others where that is quicker to tell.
    fn keys_of(&mut self, parts: &[&Groups]) -> Vec<u32> {
        let groups: usize = parts.iter().map(|part| part.len()).sum();
        if groups * 4 >= self.keys.len() {
            return self.keys_in_order().to_vec();
        }
        let mut keys: Vec<u32> = parts.iter().flat_map(|part| part.iter().map(|(key, _)| key)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.sort_unstable_by(|a, b| self.keys.ordered(*a).cmp(self.keys.ordered(*b)));
        keys
    }

    /// All keys in their order.
    pub(super) fn keys_in_order(&mut self) -> &[u32] {
        if self.sorted.version != Some(self.keys.version()) {
            self.sort();
        }
        &self.sorted.numbers
    }

    fn sort(&mut self) {
        let mut numbers: Vec<u32> = self.keys.iter().collect();
        numbers.sort_unstable_by(|a, b| self.keys.ordered(*a).cmp(self.keys.ordered(*b)));
        self.sorted = Sorted { version: Some(self.keys.version()), numbers, ..Sorted::default() };
    }

    /// The columns of keys.
    pub(super) fn key_columns(&mut self, keys: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.sorted.version != Some(self.keys.version()) || keys.len() * 4 < self.sorted.numbers.len() {
            return self.keys.columns(keys.iter().copied());
        }
        if self.sorted.ranks.is_empty() {
            self.sorted.columns = self.keys.columns(self.sorted.numbers.iter().copied())?;
            self.sorted.ranks = vec![0; self.keys.numbers()];
            for (rank, number) in self.sorted.numbers.iter().enumerate() {
                self.sorted.ranks[*number as usize] = rank as u32;
            }
        }
        if keys == self.sorted.numbers {
            return Ok(self.sorted.columns.clone());
        }
        let ranks = UInt32Array::from_iter_values(keys.iter().map(|key| self.sorted.ranks[*key as usize]));
        self.sorted.columns.iter().map(|column| Ok(take(column, &ranks, None)?)).collect()
    }

    /// The states of keys and their slots as a table: keys and accumulators.
    pub(super) fn state(&mut self, aggregate: &WindowAggregate, keys: &[u32], slots: &[u32]) -> Result<RecordBatch> {
        let mut columns = self.keys.columns(keys.iter().copied())?;
        columns.extend(self.accumulators.state(slots)?);
        let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
        Ok(RecordBatch::try_new_with_options(aggregate.state_schema().clone(), columns, &options)?)
    }

    /// Puts the groups of a table that [`state`](Self::state) gave into a pane, but for those that are there.
    pub(super) fn restore(&mut self, groups: &mut Groups, state: &RecordBatch) -> Result<()> {
        let (keys, states) = state.columns().split_at(self.keys.columns_len());
        let mut numbers = Vec::new();
        self.keys.intern(state.num_rows(), keys, &mut numbers)?;
        let is_new: Vec<bool> = numbers.iter().map(|key| groups.slot(*key).is_none()).collect();
        let mut states = states.to_vec();
        if is_new.contains(&false) {
            let mut is_kept = is_new.iter();
            numbers.retain(|_| is_kept.next().is_some_and(|is_kept| *is_kept));
            let is_new = BooleanArray::from(is_new);
            states = states.iter().map(|column| filter(column, &is_new)).collect::<Result<_, _>>()?;
        }
        let slots = self.accumulators.restore(numbers.len(), &states)?;
        for (key, slot) in numbers.into_iter().zip(slots) {
            self.put(groups, key, slot);
        }
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let sorted = (self.sorted.numbers.capacity() + self.sorted.ranks.capacity()) * size_of::<u32>()
            + self.sorted.columns.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        self.keys.bytes() + self.accumulators.bytes() + self.holders.capacity() * size_of::<u32>() + sorted
    }
}
