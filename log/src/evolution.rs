//! What a stream's columns may become. Rows are never rewritten for it, so a change is legal when every row that the
//! stream ever took is a row of the new schema too: columns that are new are nullable, types only widen.
//!
//! Columns are told by their names; their order is free. [`widens`] is transitive: rows of any older schema are rows of
//! the newest.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use crate::error::{Error, Result};

/// Checks that stream `stream`, whose columns are `existing` with the partition key `key`, may get the columns `asked`.
pub(crate) fn check(stream: &str, key: &[String], existing: &Schema, asked: &Schema) -> Result<()> {
    for old in existing.fields() {
        let Ok(new) = asked.field_with_name(old.name()) else {
            return Err(refuse(
                stream,
                old.name(),
                None,
                Some(old),
                "a column cannot be removed or renamed".to_owned(),
            ));
        };
        let refuse = |allowed| Err(refuse(stream, old.name(), Some(new), Some(old), allowed));
        if old.is_nullable() && !new.is_nullable() {
            return refuse("a column that may hold NULL stays so".to_owned());
        }
        if old.data_type() == new.data_type() {
            continue;
        }
        if !widens(old.data_type(), new.data_type()) {
            return refuse(what_it_may_become(old.data_type()));
        }
        if key.contains(old.name()) && !keeps_text(old.data_type(), new.data_type()) {
            return refuse("a column of the partition key keeps the text of its values, which places rows".to_owned());
        }
    }
    for new in asked.fields() {
        if existing.field_with_name(new.name()).is_err() && !new.is_nullable() {
            return Err(refuse(stream, new.name(), Some(new), None, "a new column may hold NULL".to_owned()));
        }
    }
    Ok(())
}

fn refuse(stream: &str, column: &str, asked: Option<&Field>, existing: Option<&Field>, allowed: String) -> Error {
    Error::ColumnMismatch {
        stream: stream.to_owned(),
        column: column.to_owned(),
        expected: asked.cloned().map(Arc::new),
        found: existing.cloned().map(Arc::new),
        allowed,
    }
}

/// Whether every value of `from` is, unchanged, a value of `to`, and every array of the one casts to the other.
pub(crate) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    if let (Some(from), Some(to)) = (integer(from), integer(to)) {
        // A sign takes a bit.
        return from != to && from.bits <= to.bits && (to.signed || !from.signed);
    }
    if let (Some(from), Some(to)) = (integer(from), float_bits(to)) {
        return from.bits <= to;
    }
    if let (Some(from), Some(to)) = (float_bits(from), float_bits(to)) {
        return from < to;
    }
    if let (Some(from), Some(to)) = (decimal(from), decimal(to)) {
        return from.wide <= to.wide
            && from.scale <= to.scale
            && from.whole_digits() <= to.whole_digits()
            && from != to;
    }
    matches!(
        (from, to),
        (Utf8, Utf8View | LargeUtf8)
            | (Utf8View, LargeUtf8)
            | (Binary, BinaryView | LargeBinary)
            | (BinaryView, LargeBinary)
    )
}

/// Whether the text of every value stays the same when `from` becomes `to`, which it widens to.
fn keeps_text(from: &DataType, to: &DataType) -> bool {
    match (decimal(from), decimal(to)) {
        (Some(from), Some(to)) => from.scale == to.scale,
        _ => float_bits(to).is_none(),
    }
}

/// Says in an error which types a column could get.
fn what_it_may_become(from: &DataType) -> String {
    const TYPES: [DataType; 13] = [
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8View,
        DataType::LargeUtf8,
        DataType::BinaryView,
        DataType::LargeBinary,
        DataType::Int8,
    ];
    let wider: Vec<String> = TYPES.iter().filter(|to| widens(from, to)).map(ToString::to_string).collect();
    if decimal(from).is_some() {
        return format!("{from} may become a decimal of more digits, no fewer before or behind the point");
    }
    match wider.as_slice() {
        [] => format!("{from} cannot change"),
        wider => format!("{from} may become {}", wider.join(", ")),
    }
}

#[derive(Debug, PartialEq)]
struct Integer {
    signed: bool,
    /// Bits of a value without its sign.
    bits: u32,
}

fn integer(data_type: &DataType) -> Option<Integer> {
    let (signed, bits) = match data_type {
        DataType::Int8 => (true, 7),
        DataType::Int16 => (true, 15),
        DataType::Int32 => (true, 31),
        DataType::Int64 => (true, 63),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    };
    Some(Integer { signed, bits })
}

/// Bits of the whole numbers that a float holds exactly.
fn float_bits(data_type: &DataType) -> Option<u32> {
    match data_type {
        DataType::Float32 => Some(f32::MANTISSA_DIGITS),
        DataType::Float64 => Some(f64::MANTISSA_DIGITS),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
struct Decimal {
    wide: bool,
    precision: i16,
    scale: i16,
}

impl Decimal {
    fn whole_digits(&self) -> i16 {
        self.precision - self.scale
    }
}

fn decimal(data_type: &DataType) -> Option<Decimal> {
    let (wide, precision, scale) = match data_type {
        DataType::Decimal128(precision, scale) => (false, *precision, *scale),
        DataType::Decimal256(precision, scale) => (true, *precision, *scale),
        _ => return None,
    };
    Some(Decimal { wide, precision: precision.into(), scale: scale.into() })
}

#[cfg(test)]
#[path = "evolution_tests.rs"]
mod tests;
