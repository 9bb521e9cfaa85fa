//! Types that Delta has, for those that it has not: views and dictionaries become plain text, unsigned numbers the next
//! larger signed ones, every timestamp µs in UTC (naive or nanosecond ones would demand a newer protocol of readers).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::Result;
use crate::options::Mismatch;

/// The schema that files get; the mistakes are columns of types that no file has.
pub(crate) fn normal_schema(schema: &Schema) -> (SchemaRef, Vec<Mismatch>) {
    let mut mistakes = Vec::new();
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        match normal_type(field.data_type()) {
            Some(data_type) => fields.push(Field::new(field.name(), data_type, field.is_nullable())),
            None => mistakes.push(
                Mismatch::of_rows(
                    "types that Delta and Parquet files have",
                    format!("{} of column '{}'", field.data_type(), field.name()),
                )
                .hint(format!("write CAST({} AS TEXT) or leave the column out", field.name())),
            ),
        }
    }
    (Arc::new(Schema::new(fields)), mistakes)
}

/// Rows in the types of [`normal_schema`].
pub(crate) fn normalise(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(column, field.data_type()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn normal_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Decimal128(_, _) => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, value) => normal_type(value)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(normal_field(item)?)
        }
        DataType::FixedSizeList(item, _) => DataType::List(normal_field(item)?),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(normal_field).collect::<Option<Vec<_>>>()?.into())
        }
        _ => return None,
    })
}

fn normal_field(field: &FieldRef) -> Option<FieldRef> {
    Some(Arc::new(Field::new(field.name(), normal_type(field.data_type())?, field.is_nullable())))
}
