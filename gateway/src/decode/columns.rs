//! One Arrow builder per column, fed with scalars that fit it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int8Builder, Int16Builder, Int32Builder, Int64Builder, LargeStringBuilder, NullArray, StringBuilder,
    StringViewBuilder, TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
    new_null_array,
};
use arrow::datatypes::{DataType, TimeUnit};

use super::value::Scalar;

/// Builds one column. Its variant and the [`super::value::Kind`] that reads its values come from the same data type.
pub(crate) enum ColumnBuilder {
    Text(StringBuilder),
    TextView(StringViewBuilder),
    LargeText(LargeStringBuilder),
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt8(UInt8Builder),
    UInt16(UInt16Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Decimal(Decimal128Builder),
    Bytes(BinaryBuilder),
    /// A type that only takes NULL; counts rows.
    Nulls(DataType, usize),
}

/// Calls `$body` with the variant's builder; the rows of an unsupported type take `$nulls`.
macro_rules! each_builder {
    ($self:expr, $builder:ident => $body:expr, $count:ident, $data_type:ident => $nulls:expr) => {
        match $self {
            ColumnBuilder::Text($builder) => $body,
            ColumnBuilder::TextView($builder) => $body,
            ColumnBuilder::LargeText($builder) => $body,
            ColumnBuilder::Boolean($builder) => $body,
            ColumnBuilder::Int8($builder) => $body,
            ColumnBuilder::Int16($builder) => $body,
            ColumnBuilder::Int32($builder) => $body,
            ColumnBuilder::Int64($builder) => $body,
            ColumnBuilder::UInt8($builder) => $body,
            ColumnBuilder::UInt16($builder) => $body,
            ColumnBuilder::UInt32($builder) => $body,
            ColumnBuilder::UInt64($builder) => $body,
            ColumnBuilder::Float32($builder) => $body,
            ColumnBuilder::Float64($builder) => $body,
            ColumnBuilder::Timestamp($builder) => $body,
            ColumnBuilder::Date($builder) => $body,
            ColumnBuilder::Decimal($builder) => $body,
            ColumnBuilder::Bytes($builder) => $body,
            ColumnBuilder::Nulls($data_type, $count) => $nulls,
        }
    };
}

impl ColumnBuilder {
    /// A builder with room for `rows`.
    pub(crate) fn new(data_type: &DataType, rows: usize) -> Self {
        match data_type {
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(rows, rows * 8)),
            DataType::Utf8View => Self::TextView(StringViewBuilder::with_capacity(rows)),
            DataType::LargeUtf8 => Self::LargeText(LargeStringBuilder::with_capacity(rows, rows * 8)),
            DataType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            DataType::Int8 => Self::Int8(Int8Builder::with_capacity(rows)),
            DataType::Int16 => Self::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            DataType::UInt8 => Self::UInt8(UInt8Builder::with_capacity(rows)),
            DataType::UInt16 => Self::UInt16(UInt16Builder::with_capacity(rows)),
            DataType::UInt32 => Self::UInt32(UInt32Builder::with_capacity(rows)),
            DataType::UInt64 => Self::UInt64(UInt64Builder::with_capacity(rows)),
            DataType::Float32 => Self::Float32(Float32Builder::with_capacity(rows)),
            DataType::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(data_type.clone()))
            }
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(rows)),
            DataType::Decimal128(..) => {
                Self::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone()))
            }
            DataType::Binary => Self::Bytes(BinaryBuilder::with_capacity(rows, rows * 8)),
            other => Self::Nulls(other.clone(), 0),
        }
    }

    /// Appends a scalar that [`super::value::Kind::read`] made for this column; missing is NULL.
    #[inline]
    pub(crate) fn append(&mut self, scalar: &Scalar<'_>) {
        match (&mut *self, scalar) {
            (Self::Text(builder), Scalar::Text(text)) => builder.append_value(text),
            (Self::Float64(builder), Scalar::Float(float)) => builder.append_value(*float),
            (Self::Timestamp(builder), Scalar::Int(us)) => builder.append_value(*us),
            (Self::Int64(builder), Scalar::Int(int)) => builder.append_value(*int),
            (Self::Boolean(builder), Scalar::Bool(truth)) => builder.append_value(*truth),
            (_, Scalar::Missing | Scalar::Null) => self.append_null(),
            _ => self.append_rare(scalar),
        }
    }

    fn append_null(&mut self) {
        each_builder!(self, builder => builder.append_null(), count, _data_type => *count += 1);
    }

    /// Narrowing casts lose nothing: the reader checked the range.
    fn append_rare(&mut self, scalar: &Scalar<'_>) {
        match (self, scalar) {
            (Self::TextView(builder), Scalar::Text(text)) => builder.append_value(text),
            (Self::LargeText(builder), Scalar::Text(text)) => builder.append_value(text),
            (Self::Int8(builder), Scalar::Int(int)) => builder.append_value(*int as i8),
            (Self::Int16(builder), Scalar::Int(int)) => builder.append_value(*int as i16),
            (Self::Int32(builder), Scalar::Int(int)) => builder.append_value(*int as i32),
            (Self::Date(builder), Scalar::Int(days)) => builder.append_value(*days as i32),
            (Self::UInt8(builder), Scalar::UInt(int)) => builder.append_value(*int as u8),
            (Self::UInt16(builder), Scalar::UInt(int)) => builder.append_value(*int as u16),
            (Self::UInt32(builder), Scalar::UInt(int)) => builder.append_value(*int as u32),
            (Self::UInt64(builder), Scalar::UInt(int)) => builder.append_value(*int),
            (Self::Float32(builder), Scalar::Float(float)) => builder.append_value(*float as f32),
            (Self::Decimal(builder), Scalar::Decimal(decimal)) => builder.append_value(*decimal),
            (Self::Bytes(builder), Scalar::Bytes(bytes)) => builder.append_value(bytes),
            _ => unreachable!("the column's reader and builder come from one data type"),
        }
    }

    /// The column built so far.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        each_builder!(self, builder => Arc::new(builder.finish()), count, data_type => {
            let rows = std::mem::take(count);
            match data_type {
                DataType::Null => Arc::new(NullArray::new(rows)),
                other => new_null_array(other, rows),
            }
        })
    }
}
