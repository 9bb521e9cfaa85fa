//! A fold over samples that come in the order of time and never leave: its memory does not grow with them.

use std::fmt::Debug;
use std::mem::size_of;

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::Accumulator;

use super::arguments::{numbers, times};
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

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("samples in order are never merged")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("samples in order are never merged")
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.latest.capacity() * size_of::<Sample>()
    }
}
