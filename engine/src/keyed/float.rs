//! Functions of floats: `sum`, `avg`, `min`, `max`, and variances by Welford's method (Technometrics 4, 1962).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, UInt64Array};
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion::error::Result;

use super::accumulators::{SlotAccumulator, for_each_counted};

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatFunction {
    Sum,
    Avg,
    /// NaN is greater than any number, as in PostgreSQL and DuckDB.
    Min,
    Max,
    VarianceSample,
    VariancePopulation,
    DeviationSample,
    DeviationPopulation,
}

/// What was added to a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct State {
    count: u64,
    /// Sum, mean or extreme.
    value: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

/// A function of floats by slot.
#[derive(Debug)]
pub(super) struct FloatSlots {
    function: FloatFunction,
    states: Vec<State>,
}

impl FloatSlots {
    pub(super) fn new(function: FloatFunction) -> Self {
        Self { function, states: Vec::new() }
    }

    fn has_squares(&self) -> bool {
        !matches!(self.function, FloatFunction::Sum | FloatFunction::Avg | FloatFunction::Min | FloatFunction::Max)
    }
}

impl FloatFunction {
    fn add(self, state: &mut State, value: f64) {
        state.count += 1;
        match self {
            Self::Sum | Self::Avg => state.value += value,
            Self::Min if state.count == 1 || value < state.value || state.value.is_nan() => state.value = value,
            Self::Max if state.count == 1 || value > state.value || value.is_nan() => state.value = value,
            Self::Min | Self::Max => {}
            _ => {
                let distance = value - state.value;
                state.value += distance / state.count as f64;
                state.squares += distance * (value - state.value);
            }
        }
    }

    fn result(self, state: State) -> Option<f64> {
        let State { count, value, squares } = state;
        if count == 0 {
            return None;
        }
        let sample = || (count > 1).then(|| squares / (count - 1) as f64);
        match self {
            Self::Sum | Self::Min | Self::Max => Some(value),
            Self::Avg => Some(value / count as f64),
            Self::VarianceSample => sample(),
            Self::DeviationSample => sample().map(f64::sqrt),
            Self::VariancePopulation => Some(squares / count as f64),
            Self::DeviationPopulation => Some((squares / count as f64).sqrt()),
        }
    }
}

impl SlotAccumulator for FloatSlots {
    fn grow(&mut self, slots: usize) {
        if slots > self.states.len() {
            self.states.resize(slots, State::default());
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        let values = arguments[0].as_primitive::<Float64Type>();
        let function = self.function;
        for_each_counted(values.values(), values.nulls(), filter, slots, |slot, value| {
            function.add(&mut self.states[slot], value);
        });
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let results = slots.iter().map(|slot| self.function.result(self.states[*slot as usize]));
        Ok(Arc::new(Float64Array::from_iter(results)))
    }

    fn take(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let results = slots.iter().map(|slot| self.function.result(std::mem::take(&mut self.states[*slot as usize])));
        Ok(Arc::new(Float64Array::from_iter(results)))
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let states = || slots.iter().map(|slot| self.states[*slot as usize]);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(states().map(|state| state.count))),
            Arc::new(Float64Array::from_iter_values(states().map(|state| state.value))),
        ];
        if self.has_squares() {
            columns.push(Arc::new(Float64Array::from_iter_values(states().map(|state| state.squares))));
        }
        Ok(columns)
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = state[0].as_primitive::<UInt64Type>();
        let values = state[1].as_primitive::<Float64Type>();
        let squares = state.get(2).map(|squares| squares.as_primitive::<Float64Type>());
        for (row, slot) in slots.iter().enumerate() {
            self.states[*slot as usize] = State {
                count: counts.value(row),
                value: values.value(row),
                squares: squares.map_or(0.0, |squares| squares.value(row)),
            };
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>()
    }
}
