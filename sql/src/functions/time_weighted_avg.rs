//! `time_weighted_avg(value, time [, 'locf' | 'linear'])`: the mean of the signal over time, from the first to the last
//! sample. Samples that come densely count no more than those that come rarely.

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::area::{Area, Between};
use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleAggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeWeightedAvg;

impl SampleAggregate for TimeWeightedAvg {
    type Fold = Mean;
    const NAME: &'static str = "time_weighted_avg";
    const USAGE: &'static str = "time_weighted_avg(value, time [, 'locf' | 'linear'])";
    const DESCRIPTION: &'static str = "The mean of the signal over time.";
    const CONSTANTS: RangeInclusive<usize> = 0..=1;

    fn fold(constants: &[Arc<dyn PhysicalExpr>]) -> Result<Mean> {
        Ok(Mean(Area::new(Between::of(Self::USAGE, constants)?)))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Mean(Area);

impl Fold for Mean {
    fn step(&mut self, sample: Sample) {
        self.0.step(sample);
    }

    fn result(&self) -> Option<f64> {
        let last = self.0.last()?;
        // Over an instant it is the value there.
        Some(if self.0.length_us > 0.0 { self.0.area_us / self.0.length_us } else { last.value })
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        self.0.numbers(numbers)
    }
}
