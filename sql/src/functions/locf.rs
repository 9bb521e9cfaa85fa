//! `locf(value)`: the value, or where it is NULL the last one before (last observation carried forward).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::check_count;
use super::row::{Memory, RowFunction};
use super::row_aggregate::{Storable, Stored};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Locf;

impl RowFunction for Locf {
    type Memory = Observation;
    const NAME: &'static str = "locf";
    const USAGE: &'static str = "locf(value)";
    const DESCRIPTION: &'static str = "The last value that is not NULL.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(Self::USAGE, types, 1..=1)?;
        Ok(types.to_vec())
    }

    fn result_type(types: &[DataType]) -> DataType {
        types[0].clone()
    }

    fn memory(types: &[DataType], _args: &[Arc<dyn PhysicalExpr>]) -> Result<Observation> {
        Ok(Observation(ScalarValue::try_from(&types[0])?))
    }
}

/// The last value, or NULL before the first.
#[derive(Debug)]
pub(super) struct Observation(ScalarValue);

impl Memory for Observation {
    fn next(&mut self, args: &[ArrayRef], row: usize, _following: Option<usize>) -> Result<ScalarValue> {
        if args[0].is_valid(row) {
            self.0 = ScalarValue::try_from_array(&args[0], row)?;
        }
        Ok(self.0.clone())
    }
}

impl Storable for Locf {
    fn stored_types(types: &[DataType]) -> Vec<DataType> {
        vec![types[0].clone()]
    }
}

impl Stored for Observation {
    fn store(&self) -> Vec<ScalarValue> {
        vec![self.0.clone()]
    }

    fn take_up(&mut self, stored: &[ScalarValue]) -> Result<()> {
        self.0 = stored[0].clone();
        Ok(())
    }
}
