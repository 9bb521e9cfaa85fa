//! Which Arrow types go into which columns, and how large they become.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimeUnit};

/// Whether values of `from` go into a column of `to`: exactly, or with single values that do not fit (too large).
pub(crate) fn castable(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Decimal128, Dictionary, FixedSizeBinary, Float16, Float32, Float64,
        LargeBinary, LargeUtf8, Null, Timestamp, Utf8, Utf8View,
    };
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, values), to) => matches!(**values, Utf8 | LargeUtf8 | Utf8View) && castable(values, to),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View | Timestamp(TimeUnit::Microsecond, _)) => true,
        (Timestamp(..) | Date32 | Date64, Timestamp(TimeUnit::Microsecond, _)) => true,
        (from, Timestamp(TimeUnit::Microsecond, _)) => from.is_integer(),
        (Float16 | Float32 | Float64, Float32 | Float64) => true,
        (Decimal128(..), Float64 | Decimal128(..)) => true,
        (Binary | LargeBinary | BinaryView | FixedSizeBinary(_), Binary) => true,
        (from, to) if from.is_integer() => to.is_integer() || matches!(to, Float32 | Float64 | Decimal128(..)),
        (from, to) => from == to,
    }
}

/// Bytes of a column's texts when each row has its own: dictionaries and views may name one large value many times.
pub(crate) fn expanded_bytes(column: &ArrayRef) -> u64 {
    match column.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary();
            let lengths = text_lengths(dictionary.values());
            let keys = dictionary.normalized_keys();
            let length =
                |row: usize| if dictionary.is_null(row) { 0 } else { lengths.get(keys[row]).copied().unwrap_or(0) };
            (0..column.len()).map(length).sum()
        }
        DataType::Utf8View => text_lengths(column).iter().sum(),
        DataType::BinaryView => column.as_binary_view().iter().flatten().map(|bytes| bytes.len() as u64).sum(),
        _ => 0,
    }
}

fn text_lengths(values: &ArrayRef) -> Vec<u64> {
    let length = |text: Option<&str>| text.map_or(0, |text| text.len() as u64);
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().map(length).collect(),
        DataType::LargeUtf8 => values.as_string::<i64>().iter().map(length).collect(),
        DataType::Utf8View => values.as_string_view().iter().map(length).collect(),
        _ => Vec::new(),
    }
}
