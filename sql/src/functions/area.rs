//! The area under a signal that is known at its samples only.

use std::sync::Arc;

use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::constant_word;
use super::numbers::Numbers;
use super::samples::Sample;

/// What the signal is between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    /// The earlier one's value (last observation carried forward).
    Locf,
    /// The straight line (trapezoidal rule).
    Linear,
}

impl Between {
    /// As the optional constant says it.
    pub(super) fn of(usage: &str, constants: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let Some(method) = constants.first() else { return Ok(Self::Locf) };
        match constant_word(usage, method)?.as_str() {
            "locf" => Ok(Self::Locf),
            "linear" => Ok(Self::Linear),
            other => plan_err!("{usage} knows 'locf' and 'linear', found '{other}'"),
        }
    }
}

/// The area so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    between: Between,
    last: Option<Sample>,
    /// Value times microseconds.
    pub(super) area_us: f64,
    /// From the first to the last sample.
    pub(super) length_us: f64,
}

impl Area {
    pub(super) fn new(between: Between) -> Self {
        Self { between, last: None, area_us: 0.0, length_us: 0.0 }
    }

    /// The last sample.
    pub(super) fn last(&self) -> Option<Sample> {
        self.last
    }

    /// Walks over all that it remembers.
    pub(super) fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        numbers.sample(&mut self.last)?;
        numbers.float(&mut self.area_us)?;
        numbers.float(&mut self.length_us)
    }

    /// Goes on to the next sample.
    pub(super) fn step(&mut self, sample: Sample) {
        // Of samples at one instant the last stands for the time after it, the first for the time before it.
        if let Some(last) = self.last
            && sample.time_us > last.time_us
        {
            let length_us = sample.since_us(&last);
            let height = match self.between {
                Between::Locf => last.value,
                Between::Linear => last.value / 2.0 + sample.value / 2.0,
            };
            self.area_us += height * length_us;
            self.length_us += length_us;
        }
        self.last = Some(sample);
    }
}
