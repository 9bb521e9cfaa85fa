//! `irate(value, time)`: what a counter grew by per second since the last row before that has a value. As in Prometheus
//! a value below that one is a reset, and the counter started again from zero.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::{numbers, sample_types, times};
use super::row::{Memory, RowFunction};
use super::row_aggregate::{Storable, Stored};
use super::samples::Sample;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IRate;

impl RowFunction for IRate {
    type Memory = Previous;
    const NAME: &'static str = "irate";
    const USAGE: &'static str = "irate(value, time)";
    const DESCRIPTION: &'static str = "What a counter that may be reset grew by per second since the last row before.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        sample_types(Self::USAGE, types, 0..=0)
    }

    fn result_type(_types: &[DataType]) -> DataType {
        DataType::Float64
    }

    fn memory(_types: &[DataType], _args: &[Arc<dyn PhysicalExpr>]) -> Result<Previous> {
        Ok(Previous(None))
    }
}

/// The last sample.
#[derive(Debug)]
pub(super) struct Previous(Option<Sample>);

impl Memory for Previous {
    fn next(&mut self, args: &[ArrayRef], row: usize, _following: Option<usize>) -> Result<ScalarValue> {
        let (values, times) = (numbers(&args[0])?, times(&args[1])?);
        if values.is_null(row) || times.is_null(row) {
            return Ok(ScalarValue::Float64(None));
        }
        let sample = Sample::new(times.value(row), values.value(row));
        let rate = self.0.replace(sample).and_then(|previous| {
            let seconds = sample.since_us(&previous) / 1e6;
            let start = if sample.value < previous.value { 0.0 } else { previous.value };
            (seconds > 0.0).then(|| (sample.value - start) / seconds)
        });
        Ok(ScalarValue::Float64(rate))
    }
}

impl Storable for IRate {
    fn stored_types(_types: &[DataType]) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Float64]
    }
}

impl Stored for Previous {
    fn store(&self) -> Vec<ScalarValue> {
        let Some(Sample { time_us, value }) = self.0 else {
            return vec![ScalarValue::Int64(None), ScalarValue::Float64(None)];
        };
        vec![ScalarValue::from(time_us), ScalarValue::from(value)]
    }

    fn take_up(&mut self, stored: &[ScalarValue]) -> Result<()> {
        if let [ScalarValue::Int64(Some(time_us)), ScalarValue::Float64(Some(value))] = *stored {
            self.0 = Some(Sample { time_us, value });
        }
        Ok(())
    }
}
