//! `rate(value, time)`: what a counter grows by per second, from its first to its last sample, resets included.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::increase::Counter;
use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleAggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rate;

impl SampleAggregate for Rate {
    type Fold = PerSecond;
    const NAME: &'static str = "rate";
    const USAGE: &'static str = "rate(value, time)";
    const DESCRIPTION: &'static str = "What a counter that may be reset grows by per second.";

    fn fold(_constants: &[Arc<dyn PhysicalExpr>]) -> Result<PerSecond> {
        Ok(PerSecond::default())
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct PerSecond(Counter);

impl Fold for PerSecond {
    fn step(&mut self, sample: Sample) {
        self.0.step(sample);
    }

    fn result(&self) -> Option<f64> {
        let (first, last) = self.0.ends?;
        let seconds = last.since_us(&first) / 1e6;
        self.0.increase().filter(|_| seconds > 0.0).map(|increase| increase / seconds)
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        self.0.numbers(numbers)
    }
}
