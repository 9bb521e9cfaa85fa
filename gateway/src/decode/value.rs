//! From what a format holds ([`Value`]) to what a column takes ([`Scalar`]): the one place where types are decided.

use std::borrow::Cow;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, TimeUnit};

use super::number::{parse_f64, parse_i64};
use super::timestamp::{MAX_US, MIN_US, parse_date_text, parse_timestamp_us};
use crate::input::TimestampUnit;

/// A value as a format delivers it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number, as its text.
    Number(&'a str),
    /// A text.
    Text(Cow<'a, str>),
    /// A field of a format without types (CSV, an Influx tag): read as whatever the column is.
    Bare(Cow<'a, str>),
    /// An array or object, as its text.
    Nested(&'a str),
}

/// A value that fits its column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// The row did not name the column (yet).
    Missing,
    Null,
    Bool(bool),
    /// Integers, microseconds of a TIMESTAMP, days of a DATE.
    Int(i64),
    UInt(u64),
    Float(f64),
    Decimal(i128),
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
}

/// What a column reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Text,
    Boolean,
    Int {
        min: i64,
        max: i64,
    },
    UInt {
        max: u64,
    },
    Float64,
    Float32,
    Timestamp(TimestampUnit),
    Date,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Bytes,
    /// A type that no text form is defined for.
    Unsupported,
}

impl Kind {
    /// What a column of `data_type` reads; numbers in timestamps count `unit`.
    pub(crate) fn of(data_type: &DataType, unit: TimestampUnit) -> Self {
        let int = |min, max| Self::Int { min, max };
        match data_type {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Self::Text,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => int(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => int(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => int(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => int(i64::MIN, i64::MAX),
            DataType::UInt8 => Self::UInt { max: u8::MAX.into() },
            DataType::UInt16 => Self::UInt { max: u16::MAX.into() },
            DataType::UInt32 => Self::UInt { max: u32::MAX.into() },
            DataType::UInt64 => Self::UInt { max: u64::MAX },
            DataType::Float64 => Self::Float64,
            DataType::Float32 => Self::Float32,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Timestamp(unit),
            DataType::Date32 => Self::Date,
            DataType::Decimal128(precision, scale) if *precision <= DECIMAL128_MAX_PRECISION => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Binary => Self::Bytes,
            _ => Self::Unsupported,
        }
    }

    /// The value as this kind of column takes it; `None` when it is of another type or out of range.
    #[inline]
    pub(crate) fn read<'a>(&self, value: &mut Value<'a>) -> Option<Scalar<'a>> {
        match (self, &mut *value) {
            (_, Value::Null) => Some(Scalar::Null),
            (Self::Text, Value::Text(text) | Value::Bare(text)) => Some(Scalar::Text(std::mem::take(text))),
            (Self::Float64, Value::Number(text)) => parse_f64(text).map(Scalar::Float),
            (Self::Timestamp(unit), Value::Number(text)) => timestamp_from_number(text, *unit),
            (Self::Timestamp(_), Value::Text(text)) => parse_timestamp_us(text).map(Scalar::Int),
            (Self::Boolean, Value::Bool(truth)) => Some(Scalar::Bool(*truth)),
            (Self::Int { min, max }, Value::Number(text)) => {
                parse_i64(text).filter(|int| (*min..=*max).contains(int)).map(Scalar::Int)
            }
            (_, Value::Bare(text)) => self.read_bare(text.trim_matches([' ', '\t'])),
            (_, Value::Number(text) | Value::Text(Cow::Borrowed(text))) => {
                self.read_rare(text, matches!(value, Value::Number(_)))
            }
            (_, Value::Text(Cow::Owned(text))) => self.read_rare(text, false),
            (_, Value::Bool(_) | Value::Nested(_)) => None,
        }
    }

    /// A field without a type of its own: what it looks like to this column decides.
    fn read_bare(&self, text: &str) -> Option<Scalar<'static>> {
        match self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Some(Scalar::Bool(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Some(Scalar::Bool(false)),
            Self::Float64 => parse_f64(text).map(Scalar::Float),
            Self::Int { min, max } => parse_i64(text).filter(|int| (*min..=*max).contains(int)).map(Scalar::Int),
            Self::Timestamp(unit) => {
                parse_timestamp_us(text).map(Scalar::Int).or_else(|| timestamp_from_number(text, *unit))
            }
            Self::Date | Self::Bytes => self.read_rare(text, false),
            _ => self.read_rare(text, true),
        }
    }

    fn read_rare(&self, text: &str, is_number: bool) -> Option<Scalar<'static>> {
        match (self, is_number) {
            (Self::UInt { max }, true) => text.parse().ok().filter(|int| int <= max).map(Scalar::UInt),
            // Rounded once, from the shortest text: parsing to f64 and narrowing could round twice.
            (Self::Float32, true) => {
                text.parse::<f32>().ok().filter(|float| float.is_finite()).map(|float| Scalar::Float(float.into()))
            }
            (Self::Decimal { precision, scale }, _) => parse_decimal(text, *precision, *scale).map(Scalar::Decimal),
            (Self::Date, false) => parse_date_text(text).map(|days| Scalar::Int(days.into())),
            (Self::Bytes, false) => parse_hex(text).map(Scalar::Bytes),
            _ => None,
        }
    }

    /// What the column expects, in words.
    pub(crate) fn expects(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Int { min, max } => format!("an integer from {min} to {max}"),
            Self::UInt { max } => format!("an integer from 0 to {max}"),
            Self::Float64 | Self::Float32 => "a finite number".to_owned(),
            Self::Timestamp(unit) => {
                format!("RFC 3339 text or a number of {} in the years 1 to 9999", unit.name())
            }
            Self::Date => "a date as YYYY-MM-DD".to_owned(),
            Self::Decimal { precision, scale } => format!("a number of {precision} digits, {scale} after the point"),
            Self::Bytes => r"bytes as '\x' and hexadecimal digits".to_owned(),
            Self::Unsupported => "no value, its type has no text form".to_owned(),
        }
    }
}

/// A decimal, digits beyond the scale being cut off. Arrow's counts of digits and its exponent are 8 and 16 bits wide and wrap
/// around, and so does the number where there are an exponent and more digits than it has: those are no decimals.
fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let is_counted = match text.split_once(['e', 'E']) {
        None => text.len() <= usize::from(u8::MAX),
        Some((number, exponent)) => {
            let digits = number.bytes().filter(u8::is_ascii_digit).count();
            let exponent = exponent.trim_start_matches(['+', '-']).trim_start_matches('0');
            digits <= usize::from(DECIMAL128_MAX_PRECISION) && exponent.len() <= 2
        }
    };
    let parse = arrow::compute::kernels::cast_utils::parse_decimal::<Decimal128Type>;
    if is_counted { parse(text, precision, scale).ok() } else { None }
}

impl Value<'_> {
    /// What was found, in words, cut to a readable length.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(truth) => truth.to_string(),
            Self::Number(text) => format!("number {}", shorten(text)),
            Self::Text(text) => format!("text {:?}", shorten(text)),
            Self::Bare(text) => format!("{:?}", shorten(text)),
            Self::Nested(text) if text.starts_with('{') => format!("object {}", shorten(text)),
            Self::Nested(text) => format!("array {}", shorten(text)),
        }
    }
}

/// At most 64 bytes of a text, cut at a character, with an ellipsis when cut.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    const MAX_BYTES: usize = 64;
    if text.len() <= MAX_BYTES {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(MAX_BYTES)]))
}

fn timestamp_from_number(text: &str, unit: TimestampUnit) -> Option<Scalar<'static>> {
    let us = match parse_i64(text) {
        Some(whole) => unit.to_us(whole)?,
        None => {
            let us = unit.to_us_f64(parse_f64(text)?);
            // Both ends are far inside i64; NaN and infinities fail the comparison.
            if !(us >= MIN_US as f64 && us <= MAX_US as f64) {
                return None;
            }
            us as i64
        }
    };
    (MIN_US..=MAX_US).contains(&us).then_some(Scalar::Int(us))
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? * 16 + digit(*low)?)).collect()
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
