//! `min` and `max` of floats, NaN being greater than any number, as in PostgreSQL and DuckDB.
//!
//! DataFusion's own keep the last of two values of which one is NaN, so that `max` of 5, NaN, 1 is 1, and find the
//! largest finite number where all are infinite.

use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::logical_expr::GroupsAccumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// The accumulator of `function` where it is one of these; its state is DataFusion's.
pub(super) fn float_extreme(function: &AggregateFunctionExpr) -> Option<Box<dyn GroupsAccumulator>> {
    macro_rules! extreme {
        ($arrow:ident, $native:ident, $data_type:expr) => {
            match function.fun().name() {
                "max" => Some(Box::new(
                    PrimitiveGroupsAccumulator::<$arrow, _>::new($data_type, |greatest: &mut $native, value| {
                        if value > *greatest || value.is_nan() {
                            *greatest = value;
                        }
                    })
                    .with_starting_value($native::NEG_INFINITY),
                )),
                "min" => Some(Box::new(
                    PrimitiveGroupsAccumulator::<$arrow, _>::new($data_type, |least: &mut $native, value| {
                        if value < *least || least.is_nan() {
                            *least = value;
                        }
                    })
                    .with_starting_value($native::NAN),
                )),
                _ => None,
            }
        };
    }
    match function.field().data_type() {
        data_type @ DataType::Float64 => extreme!(Float64Type, f64, data_type),
        data_type @ DataType::Float32 => extreme!(Float32Type, f32, data_type),
        _ => None,
    }
}
