//! `integral(value, time [, 'locf' | 'linear'])`: the area under the signal, in units of the value times seconds.

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::area::{Area, Between};
use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleAggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Integral;

impl SampleAggregate for Integral {
    type Fold = Seconds;
    const NAME: &'static str = "integral";
    const USAGE: &'static str = "integral(value, time [, 'locf' | 'linear'])";
    const DESCRIPTION: &'static str = "The area under the signal, in units of the value times seconds.";
    const CONSTANTS: RangeInclusive<usize> = 0..=1;

    fn fold(constants: &[Arc<dyn PhysicalExpr>]) -> Result<Seconds> {
        Ok(Seconds(Area::new(Between::of(Self::USAGE, constants)?)))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Seconds(Area);

impl Fold for Seconds {
    fn step(&mut self, sample: Sample) {
        self.0.step(sample);
    }

    fn result(&self) -> Option<f64> {
        self.0.last().map(|_| self.0.area_us / 1e6)
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        self.0.numbers(numbers)
    }
}
