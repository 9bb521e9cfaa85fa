//! `had_changed(value)`: whether the value is distinct from that of the row before. NULL is distinct from any value; the
//! first row has nothing to differ from.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::check_count;
use super::row::{Memory, RowFunction};
use super::row_aggregate::{Storable, Stored};

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

    fn memory(types: &[DataType], _args: &[Arc<dyn PhysicalExpr>]) -> Result<Previous> {
        Ok(Previous { value: None, null: ScalarValue::try_from(&types[0])? })
    }
}

/// The value of the row before.
#[derive(Debug)]
pub(super) struct Previous {
    value: Option<ScalarValue>,
    /// NULL of its type.
    null: ScalarValue,
}

impl Memory for Previous {
    fn next(&mut self, args: &[ArrayRef], row: usize, _following: Option<usize>) -> Result<ScalarValue> {
        let value = ScalarValue::try_from_array(&args[0], row)?;
        let had_changed = self.value.as_ref().is_some_and(|previous| is_distinct(previous, &value));
        self.value = Some(value);
        Ok(ScalarValue::Boolean(Some(had_changed)))
    }
}

impl Storable for HadChanged {
    /// Whether there was a row, and its value.
    fn stored_types(types: &[DataType]) -> Vec<DataType> {
        vec![DataType::Boolean, types[0].clone()]
    }
}

impl Stored for Previous {
    fn store(&self) -> Vec<ScalarValue> {
        let value = self.value.clone().unwrap_or_else(|| self.null.clone());
        vec![ScalarValue::from(self.value.is_some()), value]
    }

    fn take_up(&mut self, stored: &[ScalarValue]) -> Result<()> {
        self.value = (stored[0] == ScalarValue::from(true)).then(|| stored[1].clone());
        Ok(())
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
