//! `deadband(value, width)`: whether to keep a row, its value being more than a width away from that of the last row kept.
//!
//! The first row is kept. NULL and NaN are away from any number, not from themselves.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::{canonical, check_count, constant_width, number, numbers};
use super::row::{Memory, RowFunction};
use super::row_aggregate::{Storable, Stored};

const USAGE: &str = "deadband(value, width)";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Deadband;

impl RowFunction for Deadband {
    type Memory = Kept;
    const NAME: &'static str = "deadband";
    const USAGE: &'static str = USAGE;
    const DESCRIPTION: &'static str = "Whether the value is more than a width away from that of the last row kept.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types, 2..=2)?;
        Ok(vec![number(USAGE, &types[0])?, types[1].clone()])
    }

    fn result_type(_types: &[DataType]) -> DataType {
        DataType::Boolean
    }

    fn memory(_types: &[DataType], args: &[Arc<dyn PhysicalExpr>]) -> Result<Kept> {
        Ok(Kept { width: constant_width(USAGE, &args[1])?, last: None })
    }
}

/// The value of the last row kept.
#[derive(Debug)]
pub(super) struct Kept {
    width: f64,
    last: Option<Option<f64>>,
}

impl Memory for Kept {
    fn next(&mut self, args: &[ArrayRef], row: usize, _following: Option<usize>) -> Result<ScalarValue> {
        let values = numbers(&args[0])?;
        let value = values.is_valid(row).then(|| canonical(values.value(row)));
        let keeps = match (self.last, value) {
            (None, _) => true,
            (Some(Some(last)), Some(value)) if !last.is_nan() && !value.is_nan() => (value - last).abs() > self.width,
            (Some(last), value) => last.map(f64::to_bits) != value.map(f64::to_bits),
        };
        if keeps {
            self.last = Some(value);
        }
        Ok(ScalarValue::Boolean(Some(keeps)))
    }
}

impl Storable for Deadband {
    fn stored_types(_types: &[DataType]) -> Vec<DataType> {
        vec![DataType::Boolean, DataType::Float64]
    }
}

impl Stored for Kept {
    fn store(&self) -> Vec<ScalarValue> {
        vec![ScalarValue::from(self.last.is_some()), ScalarValue::Float64(self.last.flatten())]
    }

    fn take_up(&mut self, stored: &[ScalarValue]) -> Result<()> {
        if let [ScalarValue::Boolean(Some(true)), ScalarValue::Float64(last)] = *stored {
            self.last = Some(last);
        }
        Ok(())
    }
}
