use super::*;

fn read(data_type: DataType, mut value: Value<'_>) -> Option<Scalar<'_>> {
    Kind::of(&data_type, TimestampUnit::Millisecond).read(&mut value)
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn bare(text: &str) -> Value<'_> {
    Value::Bare(Cow::Borrowed(text))
}

#[test]
fn types_are_strict_where_the_format_has_types() {
    assert_eq!(read(DataType::Utf8, Value::Number("1")), None);
    assert_eq!(read(DataType::Utf8, Value::Bool(true)), None);
    assert_eq!(read(DataType::Float64, text("1.5")), None);
    assert_eq!(read(DataType::Float64, Value::Number("3")), Some(Scalar::Float(3.0)));
    assert_eq!(read(DataType::Float64, Value::Number("1e999")), None);
    assert_eq!(read(DataType::Int64, Value::Number("1.0")), None);
    assert_eq!(read(DataType::Int64, Value::Number("1e3")), None);
    assert_eq!(read(DataType::Int16, Value::Number("32768")), None);
    assert_eq!(read(DataType::Int16, Value::Number("-32768")), Some(Scalar::Int(-32768)));
    assert_eq!(read(DataType::UInt64, Value::Number("18446744073709551615")), Some(Scalar::UInt(u64::MAX)));
    assert_eq!(read(DataType::UInt8, Value::Number("-1")), None);
    assert_eq!(read(DataType::Boolean, Value::Number("1")), None);
    assert_eq!(read(DataType::Boolean, text("true")), None);
    assert_eq!(read(DataType::Utf8, Value::Nested("{}")), None);
    assert_eq!(read(DataType::Utf8, Value::Null), Some(Scalar::Null));
}

#[test]
fn fields_without_type_become_what_the_column_is() {
    assert_eq!(read(DataType::Utf8, bare(" 1 ")), Some(Scalar::Text(" 1 ".into())));
    assert_eq!(read(DataType::Float64, bare(" 1.5")), Some(Scalar::Float(1.5)));
    assert_eq!(read(DataType::Float64, bare("NaN")), None);
    assert_eq!(read(DataType::Int64, bare("1.0")), None);
    assert_eq!(read(DataType::Boolean, bare("TRUE")), Some(Scalar::Bool(true)));
    assert_eq!(read(DataType::Boolean, bare("yes")), None);
    assert_eq!(read(DataType::UInt8, bare("255")), Some(Scalar::UInt(255)));
    assert_eq!(read(timestamp(), bare("1970-01-01 00:00:01")), Some(Scalar::Int(1_000_000)));
    assert_eq!(read(timestamp(), bare("1000")), Some(Scalar::Int(1_000_000)));
    assert_eq!(read(DataType::Date32, bare("1970-01-02")), Some(Scalar::Int(1)));
}

#[test]
fn timestamps_as_text_and_numbers() {
    assert_eq!(read(timestamp(), text("1970-01-01T00:00:01Z")), Some(Scalar::Int(1_000_000)));
    assert_eq!(read(timestamp(), text("1000")), None);
    assert_eq!(read(timestamp(), Value::Number("1000")), Some(Scalar::Int(1_000_000)));
    assert_eq!(read(timestamp(), Value::Number("-1")), Some(Scalar::Int(-1_000)));
    assert_eq!(read(timestamp(), Value::Number("0.0015")), Some(Scalar::Int(2)));
    assert_eq!(read(timestamp(), Value::Number("1700000000000.123")), Some(Scalar::Int(1_700_000_000_000_123)));
    assert_eq!(read(timestamp(), Value::Number("1.7e12")), Some(Scalar::Int(1_700_000_000_000_000)));
    assert_eq!(read(timestamp(), Value::Number("1e300")), None);
    assert_eq!(read(timestamp(), Value::Number("9223372036854775807")), None);
    let seconds = Kind::of(&timestamp(), TimestampUnit::Second);
    assert_eq!(seconds.read(&mut Value::Number("1700000000.5")), Some(Scalar::Int(1_700_000_000_500_000)));
    let nanoseconds = Kind::of(&timestamp(), TimestampUnit::Nanosecond);
    assert_eq!(nanoseconds.read(&mut Value::Number("1999")), Some(Scalar::Int(1)));
    assert_eq!(nanoseconds.read(&mut Value::Number("-1")), Some(Scalar::Int(-1)));
}

#[test]
fn rarer_types() {
    assert_eq!(read(DataType::Decimal128(10, 2), Value::Number("12.34")), Some(Scalar::Decimal(1234)));
    assert_eq!(read(DataType::Decimal128(10, 2), text("12.3")), Some(Scalar::Decimal(1230)));
    assert_eq!(read(DataType::Decimal128(3, 2), Value::Number("12.34")), None);
    let decimal = |text: &str| match read(DataType::Decimal128(10, 2), Value::Number(text)) {
        Some(Scalar::Decimal(hundredths)) => Some(hundredths),
        _ => None,
    };
    assert_eq!(decimal("1.234567890123e+5"), Some(12_345_678));
    assert_eq!(decimal("125e-3"), Some(12));
    // Numbers that would wrap around to others: an exponent of 16 bits, digits of 8, a number of 128.
    assert_eq!(decimal("1e65537"), None);
    assert_eq!(decimal(&format!("1{}", "0".repeat(256))), None);
    assert_eq!(decimal(&format!("1.{}1e0", "0".repeat(44))), None);
    assert_eq!(read(DataType::Float32, Value::Number("0.1")), Some(Scalar::Float(0.1_f32.into())));
    assert_eq!(read(DataType::Float32, Value::Number("1e39")), None);
    assert_eq!(read(DataType::Binary, text("\\x00ff")), Some(Scalar::Bytes(vec![0, 255])));
    assert_eq!(read(DataType::Binary, text("00ff")), None);
    assert_eq!(read(DataType::Binary, text("\\x0é")), None);
    assert_eq!(read(DataType::new_list(DataType::Int64, true), Value::Nested("[1]")), None);
}

#[test]
fn what_was_found_is_cut_at_a_character() {
    let long = "é".repeat(100);
    let found = text(&long).describe();
    assert!(found.starts_with("text \"éé") && found.ends_with("…\""), "{found}");
    assert!(found.len() < 80);
}
