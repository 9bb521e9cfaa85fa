//! Functions of floats: `sum`, `avg`, `min`, `max`, and variances by Welford's method (Technometrics 4, 1962), of which two
//! are combined as by Chan, Golub and LeVeque (Stanford, STAN-CS-79-773, 1979).

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

impl FloatFunction {
    /// Whether it can be computed together with others of its argument ([`Summaries`](super::summary::Summaries)).
    pub(super) fn is_of_summary(self) -> bool {
        matches!(self, Self::Sum | Self::Avg | Self::Min | Self::Max)
    }
}

/// What was added to a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct State {
    count: u64,
    /// Sum, mean or extreme.
    value: f64,
}

/// A function of floats by slot.
#[derive(Debug)]
pub(super) struct FloatSlots {
    function: FloatFunction,
    states: Vec<State>,
    /// Sums of squared distances from the mean; empty where the function has none.
    squares: Vec<f64>,
}

impl FloatSlots {
    pub(super) fn new(function: FloatFunction) -> Self {
        Self { function, states: Vec::new(), squares: Vec::new() }
    }

    fn has_squares(&self) -> bool {
        !self.function.is_of_summary()
    }

    fn squares_of(&self, slot: u32) -> f64 {
        self.squares.get(slot as usize).copied().unwrap_or(0.0)
    }

    fn result(&self, slot: u32) -> Option<f64> {
        let (State { count, value }, squares) = (self.states[slot as usize], self.squares_of(slot));
        if count == 0 {
            return None;
        }
        let sample = || (count > 1).then(|| squares / (count - 1) as f64);
        match self.function {
            FloatFunction::Sum | FloatFunction::Min | FloatFunction::Max => Some(value),
            FloatFunction::Avg => Some(value / count as f64),
            FloatFunction::VarianceSample => sample(),
            FloatFunction::DeviationSample => sample().map(f64::sqrt),
            FloatFunction::VariancePopulation => Some(squares / count as f64),
            FloatFunction::DeviationPopulation => Some((squares / count as f64).sqrt()),
        }
    }

    fn add(&mut self, slot: u32, state: State, squares: f64) {
        let held = &mut self.states[slot as usize];
        if state.count == 0 {
            return;
        }
        match self.function {
            FloatFunction::Sum | FloatFunction::Avg => {
                held.value += state.value;
                held.count += state.count;
            }
            FloatFunction::Min => least(held, state.value),
            FloatFunction::Max => greatest(held, state.value),
            _ if held.count == 0 => {
                *held = state;
                self.squares[slot as usize] = squares;
            }
            _ => {
                let count = held.count + state.count;
                let distance = state.value - held.value;
                let part = state.count as f64 / count as f64;
                self.squares[slot as usize] += squares + distance * distance * held.count as f64 * part;
                held.value += distance * part;
                held.count = count;
            }
        }
    }
}

/// Of an extreme only whether there is any is counted: a value that is none costs no write.
fn least(state: &mut State, value: f64) {
    if state.count == 0 || value < state.value || state.value.is_nan() {
        *state = State { count: 1, value };
    }
}

fn greatest(state: &mut State, value: f64) {
    if state.count == 0 || value > state.value || value.is_nan() {
        *state = State { count: 1, value };
    }
}

impl SlotAccumulator for FloatSlots {
    fn grow(&mut self, slots: usize) {
        if slots > self.states.len() {
            self.states.resize(slots, State::default());
            if self.has_squares() {
                self.squares.resize(slots, 0.0);
            }
        }
    }

    fn update(&mut self, arguments: &[ArrayRef], filter: Option<&BooleanArray>, slots: &[u32]) -> Result<()> {
        let argument = arguments[0].as_primitive::<Float64Type>();
        let (values, nulls) = (argument.values(), argument.nulls());
        let states = self.states.as_mut_slice();
        match self.function {
            FloatFunction::Sum | FloatFunction::Avg => for_each_counted(values, nulls, filter, slots, |slot, value| {
                let state = &mut states[slot];
                state.count += 1;
                state.value += value;
            }),
            FloatFunction::Min => {
                for_each_counted(values, nulls, filter, slots, |slot, value| least(&mut states[slot], value));
            }
            FloatFunction::Max => {
                for_each_counted(values, nulls, filter, slots, |slot, value| greatest(&mut states[slot], value));
            }
            _ => {
                let squares = self.squares.as_mut_slice();
                for_each_counted(values, nulls, filter, slots, |slot, value| {
                    let state = &mut states[slot];
                    state.count += 1;
                    let distance = value - state.value;
                    state.value += distance / state.count as f64;
                    squares[slot] += distance * (value - state.value);
                });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(Float64Array::from_iter(slots.iter().map(|slot| self.result(*slot))))])
    }

    fn take(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let results = self.evaluate(slots)?;
        self.clear(slots);
        Ok(results)
    }

    fn state(&mut self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let states = || slots.iter().map(|slot| self.states[*slot as usize]);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(states().map(|state| state.count))),
            Arc::new(Float64Array::from_iter_values(states().map(|state| state.value))),
        ];
        if self.has_squares() {
            columns.push(Arc::new(Float64Array::from_iter_values(slots.iter().map(|slot| self.squares_of(*slot)))));
        }
        Ok(columns)
    }

    fn restore(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = state[0].as_primitive::<UInt64Type>();
        let values = state[1].as_primitive::<Float64Type>();
        let squares = state.get(2).map(|squares| squares.as_primitive::<Float64Type>());
        for (row, slot) in slots.iter().enumerate() {
            self.states[*slot as usize] = State { count: counts.value(row), value: values.value(row) };
            if let Some(squares) = squares {
                self.squares[*slot as usize] = squares.value(row);
            }
        }
        Ok(())
    }

    fn combine(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        let states = self.states.as_mut_slice();
        let pairs = into.iter().zip(from).map(|(into, from)| (*into as usize, *from as usize));
        match self.function {
            FloatFunction::Sum | FloatFunction::Avg => pairs.for_each(|(into, from)| {
                let State { count, value } = states[from];
                states[into].count += count;
                states[into].value += value;
            }),
            FloatFunction::Min => pairs.for_each(|(into, from)| {
                let State { count, value } = states[from];
                if count > 0 {
                    least(&mut states[into], value);
                }
            }),
            FloatFunction::Max => pairs.for_each(|(into, from)| {
                let State { count, value } = states[from];
                if count > 0 {
                    greatest(&mut states[into], value);
                }
            }),
            _ => {
                for (into, from) in into.iter().zip(from) {
                    self.add(*into, self.states[*from as usize], self.squares_of(*from));
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = state[0].as_primitive::<UInt64Type>();
        let values = state[1].as_primitive::<Float64Type>();
        let squares = state.get(2).map(|squares| squares.as_primitive::<Float64Type>());
        for (row, slot) in slots.iter().enumerate() {
            let squares = squares.map_or(0.0, |squares| squares.value(row));
            self.add(*slot, State { count: counts.value(row), value: values.value(row) }, squares);
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.states[*slot as usize] = State::default();
            if let Some(squares) = self.squares.get_mut(*slot as usize) {
                *squares = 0.0;
            }
        }
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>() + self.squares.capacity() * size_of::<f64>()
    }
}
