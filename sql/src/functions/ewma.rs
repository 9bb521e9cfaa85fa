//! `ewma(value, time, time constant)`: the exponentially weighted moving average of samples at any distance, at the last.
//!
//! `EMA_next` of A. Eckner, "Algorithms for Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators".

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::constant_interval_us;
use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleAggregate};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Ewma;

impl SampleAggregate for Ewma {
    type Fold = LowPass;
    const NAME: &'static str = "ewma";
    const USAGE: &'static str = "ewma(value, time, time constant)";
    const DESCRIPTION: &'static str = "The exponentially weighted moving average at the last sample.";
    const CONSTANTS: RangeInclusive<usize> = 1..=1;

    fn fold(constants: &[Arc<dyn PhysicalExpr>]) -> Result<LowPass> {
        Ok(LowPass { tau_us: constant_interval_us(Self::USAGE, &constants[0])?, last: None })
    }
}

/// A first-order low-pass filter.
#[derive(Debug, Clone)]
pub(super) struct LowPass {
    tau_us: f64,
    /// The average at the time of the last sample.
    last: Option<Sample>,
}

impl Fold for LowPass {
    fn step(&mut self, sample: Sample) {
        self.last = Some(match self.last {
            None => sample,
            // Of samples at one instant the first counts, also where another is an infinity.
            Some(last) if sample.time_us == last.time_us => last,
            Some(last) => {
                // 1 − exp(−Δt/τ), exact also where samples are close together.
                let weight = -(-sample.since_us(&last) / self.tau_us).exp_m1();
                Sample { time_us: sample.time_us, value: last.value + weight * (sample.value - last.value) }
            }
        });
    }

    fn result(&self) -> Option<f64> {
        self.last.map(|last| last.value)
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        numbers.sample(&mut self.last)
    }
}
