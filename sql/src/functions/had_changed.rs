//! `had_changed(value)`: whether the value is distinct from that of the row before. NULL is distinct from any value; the
//! first row has nothing to differ from.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::check_count;
use super::row::{Memory, RowFunction};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct HadChanged;

impl RowFunction for HadChanged {
    type Memory = Previous;
    const NAME: &'static str = "had_changed";
    const USAGE: &'static str = "had_changed(value)";
    const DESCRIPTION: &'static str = "Whether the value is distinct from that of the row before.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(Self::USAGE, types, 1..=1)?;
        Ok(types.to_vec())
    }

    fn result_type(_types: &[DataType]) -> DataType {
        DataType::Boolean
    }

    fn memory(_types: &[DataType], _args: &[Arc<dyn PhysicalExpr>]) -> Result<Previous> {
        Ok(Previous(None))
    }
}

/// The value of the row before.
#[derive(Debug)]
pub(super) struct Previous(Option<ScalarValue>);

impl Memory for Previous {
    fn next(&mut self, args: &[ArrayRef], row: usize, _following: Option<usize>) -> Result<ScalarValue> {
        let value = ScalarValue::try_from_array(&args[0], row)?;
        let had_changed = self.0.as_ref().is_some_and(|previous| is_distinct(previous, &value));
        self.0 = Some(value);
        Ok(ScalarValue::Boolean(Some(had_changed)))
    }
}

/// As `IS DISTINCT FROM`: zero has one sign only, NaN is itself.
fn is_distinct(a: &ScalarValue, b: &ScalarValue) -> bool {
    match (a, b) {
        (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) => a != b && !(a.is_nan() && b.is_nan()),
        (ScalarValue::Float32(Some(a)), ScalarValue::Float32(Some(b))) => a != b && !(a.is_nan() && b.is_nan()),
        (a, b) => a != b,
    }
}
