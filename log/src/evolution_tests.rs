//! Which changes are legal, and that the widening of types is an order whose steps lose nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;

fn types() -> Vec<DataType> {
    let mut types = vec![
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::Utf8View,
        DataType::LargeUtf8,
        DataType::Binary,
        DataType::BinaryView,
        DataType::LargeBinary,
        DataType::Boolean,
        DataType::Date32,
        DataType::Date64,
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::List(Arc::new(Field::new("item", DataType::Int32, true))),
        DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
    ];
    for (precision, scale) in [(5, 2), (7, 2), (9, 4), (6, 3), (38, 10)] {
        types.push(DataType::Decimal128(precision, scale));
        types.push(DataType::Decimal256(precision, scale));
    }
    types
}

/// Every type that each type widens to, by hand.
#[test]
fn what_widens_to_what() {
    use DataType::*;
    let expected: &[(DataType, &[DataType])] = &[
        (Int8, &[Int16, Int32, Int64, Float32, Float64]),
        (Int16, &[Int32, Int64, Float32, Float64]),
        (Int32, &[Int64, Float64]),
        (Int64, &[]),
        (UInt8, &[Int16, Int32, Int64, UInt16, UInt32, UInt64, Float32, Float64]),
        (UInt16, &[Int32, Int64, UInt32, UInt64, Float32, Float64]),
        (UInt32, &[Int64, UInt64, Float64]),
        (UInt64, &[]),
        (Float32, &[Float64]),
        (Float64, &[]),
        (Utf8, &[Utf8View, LargeUtf8]),
        (Utf8View, &[LargeUtf8]),
        (LargeUtf8, &[]),
        (Binary, &[BinaryView, LargeBinary]),
        (BinaryView, &[LargeBinary]),
        (LargeBinary, &[]),
        (Boolean, &[]),
        (Date32, &[]),
        (Timestamp(TimeUnit::Second, None), &[]),
        (Timestamp(TimeUnit::Microsecond, None), &[]),
        (List(Arc::new(Field::new("item", Int32, true))), &[]),
        (Decimal128(5, 2), &[Decimal128(7, 2), Decimal128(9, 4), Decimal128(6, 3), Decimal128(38, 10)].map(|t| t)),
        (Decimal128(9, 4), &[Decimal128(38, 10)]),
        (Decimal128(6, 3), &[Decimal128(9, 4), Decimal128(38, 10)]),
        (Decimal256(9, 4), &[Decimal256(38, 10)]),
    ];
    for (from, to) in expected {
        let wide = |to: &DataType| matches!((from, to), (Decimal128(..), Decimal256(..)));
        let found: Vec<_> = types().into_iter().filter(|to| widens(from, to) && !wide(to)).collect();
        for to in *to {
            assert!(found.contains(to), "{from} widens to {to}");
        }
        assert_eq!(found.len(), to.len(), "{from} widens to {found:?}");
    }
    assert!(widens(&Decimal128(5, 2), &Decimal256(5, 2)));
    assert!(!widens(&Decimal256(5, 2), &Decimal128(9, 4)));
}

#[test]
fn widening_is_an_order_and_every_step_can_be_cast() {
    let types = types();
    for a in &types {
        assert!(!widens(a, a), "{a}");
        for b in types.iter().filter(|b| widens(a, b)) {
            assert!(!widens(b, a), "{a} and {b}");
            assert!(arrow::compute::can_cast_types(a, b), "{a} to {b}");
            for c in types.iter().filter(|c| widens(b, c)) {
                assert!(widens(a, c), "{a} to {b} to {c}");
            }
        }
    }
}

/// The outermost values of a type that widens.
fn extremes(data_type: &DataType) -> ArrayRef {
    use arrow::array::*;
    match data_type {
        DataType::Int8 => Arc::new(Int8Array::from(vec![Some(i8::MIN), Some(i8::MAX), None, Some(-1)])),
        DataType::Int16 => Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), None, Some(-1)])),
        DataType::Int32 => Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None, Some(-1)])),
        DataType::UInt8 => Arc::new(UInt8Array::from(vec![Some(0), Some(u8::MAX), None])),
        DataType::UInt16 => Arc::new(UInt16Array::from(vec![Some(0), Some(u16::MAX), None])),
        DataType::UInt32 => Arc::new(UInt32Array::from(vec![Some(0), Some(u32::MAX), None])),
        DataType::Float32 => Arc::new(Float32Array::from(vec![
            Some(f32::MIN),
            Some(f32::MAX),
            Some(f32::MIN_POSITIVE),
            Some(-0.0),
            Some(f32::NAN),
            Some(f32::NEG_INFINITY),
            Some(0.1),
            None,
        ])),
        DataType::Utf8 => Arc::new(StringArray::from(vec![Some(""), Some("längere als zwölf Bytes"), None])),
        DataType::Utf8View => Arc::new(StringViewArray::from(vec![Some(""), Some("längere als zwölf Bytes"), None])),
        DataType::Binary => Arc::new(BinaryArray::from(vec![Some(&b""[..]), Some(&[0, 255]), None])),
        DataType::BinaryView => Arc::new(BinaryViewArray::from(vec![Some(&b""[..]), Some(&[0, 255]), None])),
        DataType::Decimal128(precision, scale) => {
            let max = 10_i128.pow(u32::from(*precision)) - 1;
            let values = Decimal128Array::from(vec![Some(max), Some(-max), None]);
            Arc::new(values.with_precision_and_scale(*precision, *scale).unwrap())
        }
        other => new_null_array(other, 1),
    }
}

#[test]
fn the_outermost_values_come_back_unchanged() {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let types = types();
    for from in &types {
        let values = extremes(from);
        for to in types.iter().filter(|to| widens(from, to)) {
            let wide = cast_with_options(&values, to, &strict).unwrap();
            assert_eq!(wide.null_count(), values.null_count(), "{from} to {to}");
            let back = cast_with_options(&wide, from, &strict).unwrap();
            assert_eq!(&back, &values, "{from} to {to}");
            if keeps_text(from, to) {
                let text = |values: &ArrayRef| cast_with_options(values, &DataType::Utf8, &strict).unwrap();
                if arrow::compute::can_cast_types(from, &DataType::Utf8)
                    && !matches!(from, DataType::Binary | DataType::BinaryView)
                {
                    assert_eq!(&text(&values), &text(&wide), "{from} to {to}");
                }
            }
        }
    }
}

fn schema(columns: &str) -> Schema {
    let field = |column: &str| {
        let words: Vec<&str> = column.split_whitespace().collect();
        let data_type = match words[1] {
            "i16" => DataType::Int16,
            "i32" => DataType::Int32,
            "i64" => DataType::Int64,
            "f32" => DataType::Float32,
            "f64" => DataType::Float64,
            "text" => DataType::Utf8,
            "large" => DataType::LargeUtf8,
            "bool" => DataType::Boolean,
            "dec" => DataType::Decimal128(5, 2),
            "dec3" => DataType::Decimal128(9, 3),
            other => panic!("{other}"),
        };
        Field::new(words[0], data_type, words.get(2) != Some(&"!"))
    };
    Schema::new(columns.split(',').map(field).collect::<Vec<_>>())
}

fn checked(existing: &str, asked: &str, key: &str) -> Result<(), String> {
    let key: Vec<String> = key.split_whitespace().map(str::to_owned).collect();
    check("s", &key, &schema(existing), &schema(asked)).map_err(|error| error.to_string())
}

#[test]
fn legal_changes() {
    for (existing, asked, key) in [
        ("a i32", "a i32", ""),
        ("a i32 !", "a i32", ""),
        ("a i32 !", "a i64 !", ""),
        ("a i32 !", "a f64", ""),
        ("a i32, b text", "b text, a i32", ""),
        ("a i32", "b text, a i64, c f32", ""),
        ("a i32, b text", "a i64, b large", "a b"),
        ("a i32 !, b f32", "a i32, b f64", "a"),
        ("a dec", "a dec3", ""),
    ] {
        assert_eq!(checked(existing, asked, key), Ok(()), "{existing} to {asked}");
    }
}

#[test]
fn any_other_change_is_refused_with_the_reason() {
    let key_text = "a column of the partition key keeps the text of its values, which places rows";
    for (existing, asked, key, column, expected, found, allowed) in [
        ("a i32, b text", "a i32", "", "b", "no such column", "Utf8", "a column cannot be removed or renamed"),
        ("a i32", "b i32, c i32", "", "a", "no such column", "Int32", "a column cannot be removed or renamed"),
        ("a i32", "a i32, b text !", "", "b", "Utf8 not null", "no such column", "a new column may hold NULL"),
        ("a i32", "a i32 !", "", "a", "Int32 not null", "Int32", "a column that may hold NULL stays so"),
        ("a i64", "a i32", "", "a", "Int32", "Int64", "Int64 cannot change"),
        ("a i32", "a i16", "", "a", "Int16", "Int32", "Int32 may become Int64, Float64"),
        ("a i64 !", "a f64 !", "", "a", "Float64 not null", "Int64 not null", "Int64 cannot change"),
        ("a f64", "a f32", "", "a", "Float32", "Float64", "Float64 cannot change"),
        ("a text", "a bool", "", "a", "Boolean", "Utf8", "Utf8 may become Utf8View, LargeUtf8"),
        ("a i32", "a f64", "a", "a", "Float64", "Int32", key_text),
        ("a f32", "a f64", "a", "a", "Float64", "Float32", key_text),
        ("a dec", "a dec3", "a", "a", "Decimal128(9, 3)", "Decimal128(5, 2)", key_text),
        (
            "a dec3",
            "a dec",
            "",
            "a",
            "Decimal128(5, 2)",
            "Decimal128(9, 3)",
            "Decimal128(9, 3) may become a decimal of more digits, no fewer before or behind the point",
        ),
    ] {
        let text = format!(
            "stream \"s\" exists with another column {column:?}: expected {expected}, found {found}; {allowed}"
        );
        assert_eq!(checked(existing, asked, key), Err(text), "{existing} to {asked}");
    }
}
