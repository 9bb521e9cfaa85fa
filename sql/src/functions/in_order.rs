//! A fold over samples that come in the order of time and never leave: its memory does not grow with them.

use std::fmt::Debug;
use std::mem::size_of;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::Accumulator;

use super::arguments::{numbers, times};
use super::numbers::Numbers;
use super::samples::{Fold, Sample};

/// What was folded, and the samples at the latest time, among which the values decide.
#[derive(Debug)]
pub(super) struct InOrder<F> {
    fold: F,
    latest: Vec<Sample>,
}

impl<F: Fold> InOrder<F> {
    pub(super) fn new(fold: F) -> Self {
        Self { fold, latest: Vec::new() }
    }

    fn push(&mut self, sample: Sample) -> Result<()> {
        match self.latest.last().map(|last| last.time_us) {
            Some(last_us) if sample.time_us < last_us => {
                return exec_err!("a sample of {} µs came after one of {last_us} µs", sample.time_us);
            }
            Some(last_us) if sample.time_us > last_us => {
                self.latest.drain(..).for_each(|sample| self.fold.step(sample));
            }
            _ => {}
        }
        let at = self.latest.partition_point(|other| other.order(&sample).is_le());
        self.latest.insert(at, sample);
        Ok(())
    }
}

impl<F: Fold> Accumulator for InOrder<F> {
    fn update_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        let (values, times) = (numbers(&args[0])?, times(&args[1])?);
        let rows = (0..values.len()).filter(|row| values.is_valid(*row) && times.is_valid(*row));
        rows.map(|row| Sample::new(times.value(row), values.value(row))).try_for_each(|sample| self.push(sample))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut fold = self.fold.clone();
        self.latest.iter().for_each(|sample| fold.step(*sample));
        Ok(ScalarValue::Float64(fold.result()))
    }

    /// In the columns that the samples themselves have where they are in any order: the times of the latest samples, then
    /// the numbers of the fold; the values of the latest samples.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut numbers = Numbers::Write(self.latest.iter().map(|sample| sample.time_us).collect());
        self.fold.numbers(&mut numbers)?;
        let (Numbers::Write(numbers) | Numbers::Read(numbers)) = numbers;
        let numbers: Vec<ScalarValue> = numbers.into_iter().map(ScalarValue::from).collect();
        let values: Vec<ScalarValue> = self.latest.iter().map(|sample| ScalarValue::from(sample.value)).collect();
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list(&numbers, &DataType::Int64, true)),
            ScalarValue::List(ScalarValue::new_list(&values, &DataType::Float64, true)),
        ])
    }

    /// Takes up a state; two are never merged.
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if !self.latest.is_empty() || states[0].len() != 1 {
            return internal_err!("samples in order are never merged");
        }
        let (numbers, values) = (states[0].as_list::<i32>().value(0), states[1].as_list::<i32>().value(0));
        let (numbers, values) = (numbers.as_primitive::<Int64Type>(), values.as_primitive::<Float64Type>());
        let (times, numbers) = numbers.values().split_at(values.len());
        let sample = |(time_us, value): (&i64, &f64)| Sample { time_us: *time_us, value: *value };
        self.latest = times.iter().zip(values.values()).map(sample).collect();
        self.fold.numbers(&mut Numbers::of(numbers.to_vec()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.latest.capacity() * size_of::<Sample>()
    }
}
