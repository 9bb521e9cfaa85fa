//! `count`

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use datafusion::error::Result;

use super::accumulators::{SlotAccumulator, is_let_through};

/// Rows whose argument is not NULL.
#[derive(Debug, Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl SlotAccumulator for Count {
    fn grow(&mut self, slots: usize) {
        if slots > self.counts.len() {
            self.counts.resize(slots, 0);
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        if filter.is_none() && arguments.iter().all(|argument| argument.logical_null_count() == 0) {
            for slot in slots {
                self.counts[*slot as usize] += 1;
            }
            return Ok(());
        }
        let nulls: Vec<_> = arguments.iter().filter_map(|argument| argument.logical_nulls()).collect();
        for (row, slot) in slots.iter().enumerate() {
            let counts = nulls.iter().all(|nulls| nulls.is_valid(row)) && is_let_through(filter, row);
            self.counts[*slot as usize] += i64::from(counts);
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = slots.iter().map(|slot| self.counts[*slot as usize]);
        Ok(vec![Arc::new(Int64Array::from_iter_values(counts))])
    }

    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = slots.iter().map(|slot| std::mem::take(&mut self.counts[*slot as usize]));
        Ok(vec![Arc::new(Int64Array::from_iter_values(counts))])
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = slots.iter().map(|slot| self.counts[*slot as usize]);
        Ok(vec![Arc::new(Int64Array::from_iter_values(counts))])
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (slot, count) in slots.iter().zip(state[0].as_primitive::<Int64Type>().values()) {
            self.counts[*slot as usize] = *count;
        }
        Ok(())
    }

    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        for (into, from) in into.iter().zip(from) {
            self.counts[*into as usize] += self.counts[*from as usize];
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (slot, count) in slots.iter().zip(state[0].as_primitive::<Int64Type>().values()) {
            self.counts[*slot as usize] += count;
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.counts[*slot as usize] = 0;
        }
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
