//! `zscore(value, time)`: how many standard deviations the last value is from the mean.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleAggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ZScore;

impl SampleAggregate for ZScore {
    type Fold = Spread;
    const NAME: &'static str = "zscore";
    const USAGE: &'static str = "zscore(value, time)";
    const DESCRIPTION: &'static str = "How many standard deviations the last value is from the mean.";

    fn fold(_constants: &[Arc<dyn PhysicalExpr>]) -> Result<Spread> {
        Ok(Spread::default())
    }
}

/// Mean and spread after Welford, who keeps the precision of values far from zero; of equal values the spread is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread {
    count: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    last: f64,
}

impl Fold for Spread {
    fn step(&mut self, sample: Sample) {
        self.count += 1.0;
        let distance = sample.value - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (sample.value - self.mean);
        self.last = sample.value;
    }

    fn result(&self) -> Option<f64> {
        let deviation = (self.squares / (self.count - 1.0)).sqrt();
        // Also true of NaN, which stays.
        (self.count > 1.0 && deviation != 0.0).then(|| (self.last - self.mean) / deviation)
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        for number in [&mut self.count, &mut self.mean, &mut self.squares, &mut self.last] {
            numbers.float(number)?;
        }
        Ok(())
    }
}
