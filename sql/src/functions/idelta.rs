//! `idelta(value)`: the value minus that of the last row before that has one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::{check_count, number, numbers};
use super::row::{Memory, RowFunction};
use super::row_aggregate::{Storable, Stored};

const USAGE: &str = "idelta(value)";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IDelta;

impl RowFunction for IDelta {
    type Memory = Previous;
    const NAME: &'static str = "idelta";
    const USAGE: &'static str = USAGE;
    const DESCRIPTION: &'static str = "The value minus that of the last row before that has one.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types, 1..=1)?;
        Ok(vec![number(USAGE, &types[0])?])
    }

    fn result_type(_types: &[DataType]) -> DataType {
        DataType::Float64
    }

    fn memory(_types: &[DataType], _args: &[Arc<dyn PhysicalExpr>]) -> Result<Previous> {
        Ok(Previous(None))
    }
}

/// The last value.
#[derive(Debug)]
pub(super) struct Previous(Option<f64>);

impl Memory for Previous {
    fn next(&mut self, args: &[ArrayRef], row: usize, _following: Option<usize>) -> Result<ScalarValue> {
        let values = numbers(&args[0])?;
        if values.is_null(row) {
            return Ok(ScalarValue::Float64(None));
        }
        let value = values.value(row);
        Ok(ScalarValue::Float64(self.0.replace(value).map(|previous| value - previous)))
    }
}

impl Storable for IDelta {
    fn stored_types(_types: &[DataType]) -> Vec<DataType> {
        vec![DataType::Float64]
    }
}

impl Stored for Previous {
    fn store(&self) -> Vec<ScalarValue> {
        vec![ScalarValue::Float64(self.0)]
    }

    fn take_up(&mut self, stored: &[ScalarValue]) -> Result<()> {
        if let ScalarValue::Float64(value) = stored[0] {
            self.0 = value;
        }
        Ok(())
    }
}
