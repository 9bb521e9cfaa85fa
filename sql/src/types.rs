//! SQL's types and Arrow's. `TIMESTAMP` is `Timestamp(µs, "UTC")` everywhere, text is `Utf8`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use sqlparser::ast::{DataType as SqlType, ExactNumberInfo};

use crate::nodes::timestamp_type;

/// The types, as they are offered when one is misspelt.
pub(crate) const TYPE_NAMES: [&str; 18] = [
    "TEXT",
    "STRING",
    "TIMESTAMPTZ",
    "VARCHAR",
    "DOUBLE",
    "REAL",
    "FLOAT",
    "BIGINT",
    "INT",
    "INTEGER",
    "SMALLINT",
    "BOOLEAN",
    "TIMESTAMP",
    "DATE",
    "BYTEA",
    "BINARY",
    "DECIMAL",
    "NUMERIC",
];

/// The types, as they are listed.
pub(crate) const TYPES_SHOWN: &str =
    "TEXT, DOUBLE, REAL, BIGINT, INTEGER, SMALLINT, BOOLEAN, TIMESTAMP, DATE, BYTEA and DECIMAL(p, s)";

/// The Arrow type of a column declared with this type; `None` when the dialect does not have it.
pub(crate) fn arrow_type(sql_type: &SqlType) -> Option<DataType> {
    Some(match sql_type {
        SqlType::Text | SqlType::Varchar(_) | SqlType::String(_) => DataType::Utf8,
        SqlType::Double(ExactNumberInfo::None) | SqlType::DoublePrecision | SqlType::Float8 => DataType::Float64,
        SqlType::Real | SqlType::Float(ExactNumberInfo::None) | SqlType::Float4 => DataType::Float32,
        SqlType::BigInt(None) | SqlType::Int8(None) => DataType::Int64,
        SqlType::Int(None) | SqlType::Integer(None) | SqlType::Int4(None) => DataType::Int32,
        SqlType::SmallInt(None) | SqlType::Int2(None) => DataType::Int16,
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::Timestamp(None | Some(0..=6), _) => timestamp_type(),
        SqlType::Date => DataType::Date32,
        SqlType::Bytea | SqlType::Binary(None) | SqlType::Varbinary(None) => DataType::Binary,
        SqlType::Decimal(info) | SqlType::Numeric(info) => return decimal(info),
        _ => return None,
    })
}

fn decimal(info: &ExactNumberInfo) -> Option<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    let valid = (1..=38).contains(&precision) && (0..=precision.cast_signed()).contains(&scale);
    valid.then_some(DataType::Decimal128(precision, scale))
}

/// The name of an Arrow type in SQL.
#[must_use]
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Timestamp(_, _) => "TIMESTAMP".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::Null => "NULL".to_owned(),
        other => other.to_string(),
    }
}

/// Whether it is one of Arrow's types of text.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether a value of type `from` can be stored in a column of type `to` without an explicit cast: nothing but its
/// representation may change.
pub(crate) fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, Float16, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary,
        Null, Timestamp, UInt8, UInt16, UInt32,
    };
    if from == to || *from == Null || (is_text(from) && is_text(to)) {
        return true;
    }
    match to {
        Int16 => matches!(from, Int8 | UInt8),
        Int32 => matches!(from, Int8 | Int16 | UInt8 | UInt16),
        Int64 => matches!(from, Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32),
        Float32 => matches!(from, Int8 | Int16 | UInt8 | UInt16 | Float16),
        Float64 => from.is_integer() || matches!(from, Float16 | Float32),
        Decimal128(to_precision, to_scale) => match from {
            Decimal128(precision, scale) => {
                let digits = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
                scale <= to_scale && digits(*precision, *scale) <= digits(*to_precision, *to_scale)
            }
            _ => false,
        },
        Timestamp(_, _) => matches!(from, Timestamp(_, _) | Date32),
        Binary => matches!(from, LargeBinary | BinaryView),
        _ => false,
    }
}

/// Gives `CAST(… AS TIMESTAMP)` and its like the types that columns have.
#[derive(Debug)]
pub(crate) struct DialectTypes;

impl TypePlanner for DialectTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        Ok(arrow_type(sql_type).map(|data_type| Arc::new(Field::new("", data_type, true))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_where_nothing_is_lost() {
        assert!(fits(&DataType::Int32, &DataType::Int64));
        assert!(!fits(&DataType::Int64, &DataType::Int32));
        assert!(!fits(&DataType::Float64, &DataType::Float32));
        assert!(fits(&DataType::Utf8View, &DataType::Utf8));
        assert!(!fits(&DataType::Utf8, &timestamp_type()));
        assert!(fits(&DataType::Decimal128(5, 2), &DataType::Decimal128(10, 4)));
        assert!(!fits(&DataType::Decimal128(10, 4), &DataType::Decimal128(10, 6)));
    }

    #[test]
    fn decimals_have_limits() {
        assert_eq!(decimal(&ExactNumberInfo::PrecisionAndScale(10, 2)), Some(DataType::Decimal128(10, 2)));
        assert_eq!(decimal(&ExactNumberInfo::PrecisionAndScale(2, 10)), None);
        assert_eq!(decimal(&ExactNumberInfo::Precision(39)), None);
    }
}
