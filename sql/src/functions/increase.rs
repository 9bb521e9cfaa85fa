//! `increase(value, time)`: how far a counter has come from its first to its last sample, resets to zero included.
//!
//! As in Prometheus a value below the one before it is a reset, and the counter started again from zero. Nothing is
//! extrapolated to the window's borders.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleAggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Increase;

impl SampleAggregate for Increase {
    type Fold = Counter;
    const NAME: &'static str = "increase";
    const USAGE: &'static str = "increase(value, time)";
    const DESCRIPTION: &'static str = "How far a counter that may be reset has come.";

    fn fold(_constants: &[Arc<dyn PhysicalExpr>]) -> Result<Counter> {
        Ok(Counter::default())
    }
}

/// A counter that may be reset.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter {
    /// The first and the last sample.
    pub(super) ends: Option<(Sample, Sample)>,
    /// Sum of the values that it was reset at.
    resets: f64,
    /// Sum of its steps.
    steps: f64,
}

impl Counter {
    /// How far it has come.
    pub(super) fn increase(&self) -> Option<f64> {
        // Of finite values the ends and the resets say it with less rounding.
        self.ends.map(|(first, last)| match last.value - first.value + self.resets {
            increase if increase.is_finite() && self.steps.is_finite() => increase,
            _ => self.steps,
        })
    }
}

impl Fold for Counter {
    fn step(&mut self, sample: Sample) {
        let Some((first, last)) = self.ends else {
            self.ends = Some((sample, sample));
            // NaN stays: what is computed of it is NaN.
            self.steps = if sample.value.is_nan() { f64::NAN } else { 0.0 };
            return;
        };
        if sample.value < last.value {
            self.resets += last.value;
            self.steps += sample.value;
        } else {
            self.steps += sample.value - last.value;
        }
        self.ends = Some((first, sample));
    }

    fn result(&self) -> Option<f64> {
        self.increase()
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        let (mut first, mut last) = self.ends.unzip();
        numbers.sample(&mut first)?;
        numbers.sample(&mut last)?;
        self.ends = first.zip(last);
        numbers.float(&mut self.resets)?;
        numbers.float(&mut self.steps)
    }
}
