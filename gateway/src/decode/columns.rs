//! One column of rows being built, fed with scalars that fit it. Values can be taken back, so that a row is written into
//! the columns while it is read and cut off again when it turns out to be malformed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, NullArray,
    NullBufferBuilder, PrimitiveArray, StringArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::value::Scalar;
use crate::error::Result;

/// Builds one column. Its values and the [`super::value::Kind`] that reads them come from the same data type.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    data_type: DataType,
    values: Values,
    rows: usize,
    /// Of the rows up to the last NULL; those behind it have values.
    nulls: NullBufferBuilder,
}

/// Values as [`Scalar`] has them; a NULL has a place too.
#[derive(Debug)]
enum Values {
    Texts(Bytes),
    Bytes(Bytes),
    Booleans(BooleanBufferBuilder),
    Ints(Vec<i64>),
    UInts(Vec<u64>),
    Floats(Vec<f64>),
    Decimals(Vec<i128>),
    /// A type that only takes NULL.
    Nothing,
}

/// Texts or bytes, one after the other.
#[derive(Debug)]
struct Bytes {
    bytes: Vec<u8>,
    /// Where each value begins; the last is where the next one will.
    offsets: Vec<i32>,
}

impl Bytes {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(rows * 10 + 16), offsets }
    }

    #[inline]
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.end_value();
    }

    /// Pushes the first `length` of `bytes`.
    #[inline]
    fn push_first(&mut self, bytes: &[u8], length: usize) {
        match bytes.first_chunk::<16>() {
            // A copy of known size takes neither a call nor a branch by length.
            Some(chunk) if length <= chunk.len() => {
                let end = self.bytes.len() + length;
                self.bytes.extend_from_slice(chunk);
                self.bytes.truncate(end);
            }
            _ => self.bytes.extend_from_slice(&bytes[..length]),
        }
        self.end_value();
    }

    #[inline]
    fn end_value(&mut self) {
        self.offsets.push(i32::try_from(self.bytes.len()).expect("a body's texts are far below 2 GiB"));
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.offsets[rows] as usize);
    }

    fn into_parts(self) -> (OffsetBuffer<i32>, Buffer) {
        (OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.bytes))
    }
}

impl ColumnBuilder {
    /// A builder with room for `rows`.
    pub(crate) fn new(data_type: &DataType, rows: usize) -> Self {
        let values = match data_type {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Values::Texts(Bytes::new(rows)),
            DataType::Binary => Values::Bytes(Bytes::new(rows)),
            DataType::Boolean => Values::Booleans(BooleanBufferBuilder::new(rows)),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Values::ints(rows),
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) | DataType::Date32 => Values::ints(rows),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Values::UInts(Vec::with_capacity(rows))
            }
            DataType::Float32 | DataType::Float64 => Values::Floats(Vec::with_capacity(rows)),
            DataType::Decimal128(..) => Values::Decimals(Vec::with_capacity(rows)),
            _ => Values::Nothing,
        };
        Self { data_type: data_type.clone(), values, rows: 0, nulls: NullBufferBuilder::new(rows) }
    }

    /// Rows in the column.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Appends a scalar that [`super::value::Kind::read`] made for this column; missing is NULL.
    #[inline(always)] // the scalar's variant is known where it matters, which decides most of it
    pub(crate) fn append(&mut self, scalar: &Scalar<'_>) {
        match (&mut self.values, scalar) {
            (Values::Texts(texts), Scalar::Text(text)) => texts.push(text.as_bytes()),
            (Values::Floats(floats), Scalar::Float(float)) => floats.push(*float),
            (Values::Ints(ints), Scalar::Int(int)) => ints.push(*int),
            (Values::Booleans(booleans), Scalar::Bool(truth)) => booleans.append(*truth),
            (Values::UInts(ints), Scalar::UInt(int)) => ints.push(*int),
            (Values::Decimals(decimals), Scalar::Decimal(decimal)) => decimals.push(*decimal),
            (Values::Bytes(values), Scalar::Bytes(bytes)) => values.push(bytes),
            (_, Scalar::Missing | Scalar::Null) => return self.append_null(),
            _ => unreachable!("the column's reader and builder come from one data type"),
        }
        self.rows += 1;
    }

    /// Appends the text that the first `length` of `bytes` are to a column of texts. Bytes behind them are read too.
    #[inline]
    pub(crate) fn append_text(&mut self, bytes: &[u8], length: usize) {
        let Values::Texts(texts) = &mut self.values else { unreachable!("the column takes texts") };
        texts.push_first(bytes, length);
        self.rows += 1;
    }

    /// Appends a NULL.
    pub(crate) fn append_null(&mut self) {
        match &mut self.values {
            Values::Texts(values) | Values::Bytes(values) => values.push(b""),
            Values::Booleans(booleans) => booleans.append(false),
            Values::Ints(ints) => ints.push(0),
            Values::UInts(ints) => ints.push(0),
            Values::Floats(floats) => floats.push(0.0),
            Values::Decimals(decimals) => decimals.push(0),
            Values::Nothing => {}
        }
        self.nulls.append_n_non_nulls(self.rows - self.nulls.len());
        self.nulls.append_null();
        self.rows += 1;
    }

    /// The last value of a column of integers or times, unless it is NULL.
    #[inline]
    pub(crate) fn last_int(&self) -> Option<i64> {
        let Values::Ints(ints) = &self.values else { return None };
        let last = self.rows.checked_sub(1)?;
        ints.last().copied().filter(|_| last >= self.nulls.len() || self.nulls.is_valid(last))
    }

    /// Takes back all but the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if self.rows <= rows {
            return;
        }
        self.rows = rows;
        match &mut self.values {
            Values::Texts(values) | Values::Bytes(values) => values.truncate(rows),
            Values::Booleans(booleans) => booleans.truncate(rows),
            Values::Ints(ints) => ints.truncate(rows),
            Values::UInts(ints) => ints.truncate(rows),
            Values::Floats(floats) => floats.truncate(rows),
            Values::Decimals(decimals) => decimals.truncate(rows),
            Values::Nothing => {}
        }
        if rows < self.nulls.len() {
            self.nulls.truncate(rows);
        }
    }

    /// The column. Narrowing casts lose nothing: the reader checked the range.
    ///
    /// # Errors
    /// Only when Arrow refuses what has the column's type.
    pub(crate) fn finish(self) -> Result<ArrayRef> {
        let Self { data_type, values, rows, mut nulls } = self;
        nulls.append_n_non_nulls(rows - nulls.len());
        let nulls = nulls.build();
        Ok(match (values, &data_type) {
            (Values::Texts(texts), _) => {
                let (offsets, bytes) = texts.into_parts();
                let texts = Arc::new(StringArray::try_new(offsets, bytes, nulls)?) as ArrayRef;
                if data_type == DataType::Utf8 { texts } else { cast(&texts, &data_type)? }
            }
            (Values::Bytes(values), _) => {
                let (offsets, bytes) = values.into_parts();
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
            (Values::Booleans(booleans), _) => Arc::new(BooleanArray::new(booleans.build(), nulls)),
            (Values::Ints(ints), DataType::Int8) => narrow::<Int8Type, _>(&ints, nulls, |int| int as i8),
            (Values::Ints(ints), DataType::Int16) => narrow::<Int16Type, _>(&ints, nulls, |int| int as i16),
            (Values::Ints(ints), DataType::Int32) => narrow::<Int32Type, _>(&ints, nulls, |int| int as i32),
            (Values::Ints(ints), DataType::Date32) => narrow::<Date32Type, _>(&ints, nulls, |days| days as i32),
            (Values::Ints(ints), DataType::Int64) => Arc::new(PrimitiveArray::<Int64Type>::new(ints.into(), nulls)),
            (Values::Ints(ints), _) => {
                let times = PrimitiveArray::<TimestampMicrosecondType>::new(ints.into(), nulls);
                Arc::new(times.with_data_type(data_type))
            }
            (Values::UInts(ints), DataType::UInt8) => narrow::<UInt8Type, _>(&ints, nulls, |int| int as u8),
            (Values::UInts(ints), DataType::UInt16) => narrow::<UInt16Type, _>(&ints, nulls, |int| int as u16),
            (Values::UInts(ints), DataType::UInt32) => narrow::<UInt32Type, _>(&ints, nulls, |int| int as u32),
            (Values::UInts(ints), _) => Arc::new(PrimitiveArray::<UInt64Type>::new(ints.into(), nulls)),
            (Values::Floats(floats), DataType::Float32) => {
                narrow::<Float32Type, _>(&floats, nulls, |float| float as f32)
            }
            (Values::Floats(floats), _) => Arc::new(PrimitiveArray::<Float64Type>::new(floats.into(), nulls)),
            (Values::Decimals(decimals), _) => {
                Arc::new(Decimal128Array::new(decimals.into(), nulls).with_data_type(data_type))
            }
            (Values::Nothing, DataType::Null) => Arc::new(NullArray::new(rows)),
            (Values::Nothing, other) => new_null_array(other, rows),
        })
    }
}

impl Values {
    fn ints(rows: usize) -> Self {
        Self::Ints(Vec::with_capacity(rows))
    }
}

fn narrow<T: ArrowPrimitiveType, V: Copy>(
    values: &[V],
    nulls: Option<NullBuffer>,
    narrow: impl Fn(V) -> T::Native,
) -> ArrayRef {
    let values: Vec<T::Native> = values.iter().map(|value| narrow(*value)).collect();
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
}
