//! Several of `sum`, `avg`, `min` and `max` of the same floats: each value is looked at once, and what a group has of all of them
//! lies in one place.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, UInt64Array};
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion::error::Result;

use super::accumulators::{SlotAccumulator, for_each_counted};
use super::float::FloatFunction;

/// What was added to a slot. Half a cache line, so that none lies in two.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Summary {
    count: u64,
    sum: f64,
    least: f64,
    greatest: f64,
}

impl Summary {
    /// NaN is greater than any number.
    fn add(&mut self, value: f64) {
        let of_one = Self { count: 1, sum: value, least: value, greatest: value };
        self.combine(&of_one);
    }

    fn combine(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 || other.least < self.least || self.least.is_nan() {
            self.least = other.least;
        }
        if self.count == 0 || other.greatest > self.greatest || other.greatest.is_nan() {
            self.greatest = other.greatest;
        }
        self.count += other.count;
        self.sum += other.sum;
    }

    fn result(&self, function: FloatFunction) -> Option<f64> {
        (self.count > 0).then(|| match function {
            FloatFunction::Avg => self.sum / self.count as f64,
            function => self.value(function),
        })
    }

    /// What a function stores of it besides the count.
    fn value(&self, function: FloatFunction) -> f64 {
        match function {
            FloatFunction::Min => self.least,
            FloatFunction::Max => self.greatest,
            _ => self.sum,
        }
    }
}

/// The functions by slot. Each one's state is stored as if it were computed by itself.
#[derive(Debug)]
pub(super) struct Summaries {
    functions: Vec<FloatFunction>,
    states: Vec<Summary>,
}

impl Summaries {
    /// Of functions that [are of a summary](FloatFunction::is_of_summary).
    pub(super) fn new(functions: Vec<FloatFunction>) -> Self {
        debug_assert!(functions.iter().all(|function| function.is_of_summary()));
        Self { functions, states: Vec::new() }
    }

    /// What functions have stored of a group.
    fn stored(&self, state: &[ArrayRef], row: usize) -> Summary {
        let mut stored = Summary::default();
        for (function, columns) in self.functions.iter().zip(state.chunks(2)) {
            let count = columns[0].as_primitive::<UInt64Type>().value(row);
            let value = columns[1].as_primitive::<Float64Type>().value(row);
            // Of an extreme only whether there is any is stored.
            stored.count = stored.count.max(count);
            match function {
                FloatFunction::Min => stored.least = value,
                FloatFunction::Max => stored.greatest = value,
                _ => stored.sum = value,
            }
        }
        stored
    }
}

impl SlotAccumulator for Summaries {
    fn grow(&mut self, slots: usize) {
        if slots > self.states.len() {
            self.states.resize(slots, Summary::default());
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        let argument = arguments[0].as_primitive::<Float64Type>();
        let states = self.states.as_mut_slice();
        for_each_counted(argument.values(), argument.nulls(), filter, slots, |slot, value| states[slot].add(value));
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let results = |function: &FloatFunction| -> ArrayRef {
            let results = slots.iter().map(|slot| self.states[*slot as usize].result(*function));
            Arc::new(Float64Array::from_iter(results))
        };
        Ok(self.functions.iter().map(results).collect())
    }

    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let results = self.evaluate(slots)?;
        self.clear(slots);
        Ok(results)
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let states = || slots.iter().map(|slot| &self.states[*slot as usize]);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(2 * self.functions.len());
        for function in &self.functions {
            let is_extreme = matches!(function, FloatFunction::Min | FloatFunction::Max);
            let counts = states().map(|state| if is_extreme { state.count.min(1) } else { state.count });
            columns.push(Arc::new(UInt64Array::from_iter_values(counts)));
            columns.push(Arc::new(Float64Array::from_iter_values(states().map(|state| state.value(*function)))));
        }
        Ok(columns)
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            self.states[*slot as usize] = self.stored(state, row);
        }
        Ok(())
    }

    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        for (into, from) in into.iter().zip(from) {
            let from = self.states[*from as usize];
            self.states[*into as usize].combine(&from);
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate() {
            let stored = self.stored(state, row);
            self.states[*slot as usize].combine(&stored);
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.states[*slot as usize] = Summary::default();
        }
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<Summary>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::float::FloatSlots;
    use super::*;

    const FUNCTIONS: [FloatFunction; 4] =
        [FloatFunction::Max, FloatFunction::Sum, FloatFunction::Min, FloatFunction::Avg];

    fn bits(columns: &[ArrayRef]) -> Vec<Vec<Option<u64>>> {
        let bits = |column: &ArrayRef| match column.as_primitive_opt::<UInt64Type>() {
            Some(counts) => counts.iter().collect(),
            None => column.as_primitive::<Float64Type>().iter().map(|value| Some(value?.to_bits())).collect(),
        };
        columns.iter().map(bits).collect()
    }

    fn value() -> impl Strategy<Value = Option<f64>> {
        let odd = prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0]);
        prop_oneof![Just(None), odd.prop_map(Some), (-1e3..1e3).prop_map(Some)]
    }

    proptest! {
        #[test]
        fn together_they_give_and_store_the_same_as_each_by_itself(
            rows in prop::collection::vec((value(), 0..6_u32, any::<bool>()), 0..40),
            pairs in prop::collection::vec((0..4_u32, 4..8_u32), 0..4),
        ) {
            let values: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|(value, ..)| *value)));
            let slots: Vec<u32> = rows.iter().map(|(_, slot, _)| *slot).collect();
            let filter = BooleanArray::from_iter(rows.iter().map(|(.., kept)| Some(*kept)));
            let (into, from): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
            let all: Vec<u32> = (0..8).collect();
            let drive = |accumulator: &mut dyn SlotAccumulator| -> Result<_> {
                accumulator.grow(16);
                accumulator.update(&[Arc::clone(&values)], Some(&filter), &slots)?;
                accumulator.combine(&into, &from)?;
                let state = accumulator.state(&all)?;
                // Goes on from what was stored, elsewhere and added to something.
                accumulator.restore(&[8, 9, 10, 11, 12, 13, 14, 15], &state)?;
                accumulator.merge(&[1, 2, 3, 4, 5, 6, 7, 0], &state)?;
                accumulator.clear(&[3]);
                let every: Vec<u32> = (0..16).collect();
                Ok((state, accumulator.evaluate(&every)?, accumulator.take(&all)?, accumulator.evaluate(&all)?))
            };
            let together = drive(&mut Summaries::new(FUNCTIONS.to_vec())).unwrap();
            let mut alone = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for function in FUNCTIONS {
                let of_one = drive(&mut FloatSlots::new(function)).unwrap();
                alone.0.extend(of_one.0);
                alone.1.extend(of_one.1);
                alone.2.extend(of_one.2);
                alone.3.extend(of_one.3);
            }
            prop_assert_eq!(bits(&together.0), bits(&alone.0));
            prop_assert_eq!(bits(&together.1), bits(&alone.1));
            prop_assert_eq!(bits(&together.2), bits(&alone.2));
            prop_assert_eq!(bits(&together.3), bits(&alone.3));
        }
    }
}
