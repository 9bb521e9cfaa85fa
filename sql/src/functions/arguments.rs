//! Arguments of the functions: their types, and constants among them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use crate::types::{is_text, sql_name};

/// Checks the number of arguments; `usage` shows how the function is called.
pub(super) fn check_count(usage: &str, types: &[DataType], count: RangeInclusive<usize>) -> Result<()> {
    match count.contains(&types.len()) {
        true => Ok(()),
        false => plan_err!("{usage} is called with {} arguments", types.len()),
    }
}

/// The type that a numeric argument is converted to.
pub(super) fn number(usage: &str, found: &DataType) -> Result<DataType> {
    match found.is_numeric() || found.is_null() {
        true => Ok(DataType::Float64),
        false => plan_err!("{usage} takes a number, found {}", sql_name(found)),
    }
}

/// The type that a time argument is converted to: microseconds, in the zone it has.
pub(super) fn time(usage: &str, found: &DataType) -> Result<DataType> {
    match found {
        DataType::Timestamp(_, zone) => Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        DataType::Null => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        other => plan_err!("{usage} takes a TIMESTAMP, found {}", sql_name(other)),
    }
}

/// The types of `(value, time, …)`: what comes after the two stays as it is.
pub(super) fn sample_types(usage: &str, types: &[DataType], constants: RangeInclusive<usize>) -> Result<Vec<DataType>> {
    check_count(usage, types, 2 + constants.start()..=2 + constants.end())?;
    let mut coerced = vec![number(usage, &types[0])?, time(usage, &types[1])?];
    coerced.extend_from_slice(&types[2..]);
    Ok(coerced)
}

/// The value of an argument that reads no column.
pub(super) fn constant(usage: &str, expr: &Arc<dyn PhysicalExpr>) -> Result<ScalarValue> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    match expr.evaluate(&row) {
        Ok(ColumnarValue::Scalar(value)) => Ok(value),
        Ok(ColumnarValue::Array(values)) => ScalarValue::try_from_array(&values, 0),
        Err(_) => plan_err!("{usage} takes a constant where a column stands"),
    }
}

/// A constant number.
pub(super) fn constant_number(usage: &str, expr: &Arc<dyn PhysicalExpr>) -> Result<f64> {
    let value = constant(usage, expr)?;
    let number = match value.data_type().is_numeric() {
        true => value.cast_to(&DataType::Float64)?,
        false => ScalarValue::Null,
    };
    match number {
        ScalarValue::Float64(Some(number)) => Ok(number),
        _ => plan_err!("{usage} takes a number where {value} stands"),
    }
}

/// A constant that is a number of a unit of the value: finite and not negative.
pub(super) fn constant_width(usage: &str, expr: &Arc<dyn PhysicalExpr>) -> Result<f64> {
    match constant_number(usage, expr)? {
        width if width >= 0.0 && width.is_finite() => Ok(width),
        width => plan_err!("{usage} takes a number that is not negative, found {width}"),
    }
}

/// A constant word, in lower case.
pub(super) fn constant_word(usage: &str, expr: &Arc<dyn PhysicalExpr>) -> Result<String> {
    let value = constant(usage, expr)?;
    let text = is_text(&value.data_type()).then(|| value.try_as_str().flatten().map(str::to_lowercase)).flatten();
    text.ok_or_else(|| plan_datafusion_err!("{usage} takes a text where {value} stands"))
}

/// The length in microseconds of a constant interval that is positive and has no months.
pub(super) fn constant_interval_us(usage: &str, expr: &Arc<dyn PhysicalExpr>) -> Result<f64> {
    let value = constant(usage, expr)?;
    let length_us = match &value {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            f64::from(i.days) * 86_400e6 + i.nanoseconds as f64 / 1e3
        }
        ScalarValue::IntervalDayTime(Some(i)) => f64::from(i.days) * 86_400e6 + f64::from(i.milliseconds) * 1e3,
        ScalarValue::DurationSecond(Some(n)) => *n as f64 * 1e6,
        ScalarValue::DurationMillisecond(Some(n)) => *n as f64 * 1e3,
        ScalarValue::DurationMicrosecond(Some(n)) => *n as f64,
        ScalarValue::DurationNanosecond(Some(n)) => *n as f64 / 1e3,
        _ => 0.0,
    };
    match length_us > 0.0 {
        true => Ok(length_us),
        false => plan_err!("{usage} takes a positive interval without months"),
    }
}

/// An argument that [`number`] has converted.
pub(super) fn numbers(array: &ArrayRef) -> Result<&Float64Array> {
    array
        .as_primitive_opt::<Float64Type>()
        .ok_or_else(|| internal_datafusion_err!("expected DOUBLE where {} stands", sql_name(array.data_type())))
}

/// An argument that [`time`] has converted.
pub(super) fn times(array: &ArrayRef) -> Result<&TimestampMicrosecondArray> {
    array
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| internal_datafusion_err!("expected microseconds where {} stands", array.data_type()))
}

/// The one value of each row as 64 bits whose order is that of the values: integers, times, and floats with NaN last.
pub(super) fn order_keys(array: &ArrayRef) -> Result<arrow::array::Int64Array> {
    Ok(match array.data_type() {
        DataType::Float64 => numbers(array)?.unary(order_key),
        _ => cast(array, &DataType::Int64)?.as_primitive().clone(),
    })
}

/// A float as bits whose order as an integer is that of `total_cmp`, every NaN being the same and last.
pub(super) fn order_key(value: f64) -> i64 {
    let bits = canonical(value).to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// One NaN for all of them.
pub(super) fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}
