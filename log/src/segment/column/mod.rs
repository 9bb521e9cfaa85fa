//! Encodes a flat column of a row group: numbers, times, texts, bytes. Same Parquet as the `parquet` crate's own writers
//! give, for a third of their time: a dictionary is one table probed once a value, the bounds of the statistics come
//! from the dictionary, and pages that zstd does not make smaller are stored as they are.
//!
//! Columns of other types are left to the `parquet` crate.

mod delta;
mod hybrid;
mod numbers;
mod pages;
mod slots;
mod texts;
mod truncate;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use parquet::basic::LogicalType;
use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

pub(super) use numbers::Kind;
use pages::Validity;
pub(super) use pages::{Chunk, Compressor};

/// The bytes at which a dictionary is given up.
const MAX_DICTIONARY_BYTES: usize = 1 << 20;

/// The column whose rows are those of `arrays`, one after the other; `None` when it is of a type that is not encoded here.
pub(super) fn encode(descr: &ColumnDescPtr, arrays: &[ArrayRef], compressor: &mut Compressor) -> Result<Option<Chunk>> {
    let Some(ty) = arrays.first().map(Array::data_type) else { return Ok(None) };
    // Extension types may have bounds of another order.
    let plain_bytes = || matches!(descr.logical_type_ref(), None | Some(LogicalType::String));
    let encoded = match ty {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if plain_bytes() => {
            texts::encode(arrays, true, Validity::of(arrays))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView if plain_bytes() => {
            texts::encode(arrays, false, Validity::of(arrays))
        }
        ty => match Kind::of(ty) {
            Some(kind) => numbers::encode(arrays, ty, kind, Validity::of(arrays)),
            None => return Ok(None),
        },
    };
    encoded.write(descr, compressor).map(Some)
}

/// How many different values may repeat in `values` for a dictionary of them to pay.
fn max_distinct(values: usize) -> usize {
    (values / 2).max(1)
}

#[cfg(test)]
mod tests;
