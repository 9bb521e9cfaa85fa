//! `sum` of 64-bit integers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use datafusion::error::Result;

use super::accumulators::{SlotAccumulator, for_each_counted};

/// Sums, NULL where nothing was added; they wrap around as DataFusion's do.
#[derive(Debug, Default)]
pub(super) struct IntegerSum {
    sums: Vec<Option<i64>>,
}

impl IntegerSum {
    fn add(&mut self, slot: u32, sum: Option<i64>) {
        let Some(sum) = sum else { return };
        let held = &mut self.sums[slot as usize];
        *held = Some(held.unwrap_or(0).wrapping_add(sum));
    }
}

impl SlotAccumulator for IntegerSum {
    fn grow(&mut self, slots: usize) {
        if slots > self.sums.len() {
            self.sums.resize(slots, None);
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        let values = arguments[0].as_primitive::<Int64Type>();
        for_each_counted(values.values(), values.nulls(), filter, slots, |slot, value: i64| {
            self.sums[slot] = Some(self.sums[slot].unwrap_or(0).wrapping_add(value));
        });
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Int64Array::from_iter(slots.iter().map(|slot| self.sums[*slot as usize])))])
    }

    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = slots.iter().map(|slot| self.sums[*slot as usize].take());
        Ok(vec![Arc::new(Int64Array::from_iter(sums))])
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = slots.iter().map(|slot| self.sums[*slot as usize]);
        Ok(vec![Arc::new(Int64Array::from_iter(sums))])
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (slot, sum) in slots.iter().zip(state[0].as_primitive::<Int64Type>()) {
            self.sums[*slot as usize] = sum;
        }
        Ok(())
    }

    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        for (into, from) in into.iter().zip(from) {
            self.add(*into, self.sums[*from as usize]);
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (slot, sum) in slots.iter().zip(state[0].as_primitive::<Int64Type>()) {
            self.add(*slot, sum);
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.sums[*slot as usize] = None;
        }
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i64>>()
    }
}
