//! NDJSON, against another reader of JSON.

use std::collections::HashMap;
use std::fmt;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{MAX_BYTES, NOW_US, assert_same, check_rejected, shape};
use crate::decode::{Decoded, Format, decode};

/// Lines of JSON objects. The first two bytes say behind which line the body is cut in two.
pub fn ndjson(data: &[u8]) {
    let Some((at, body)) = data.split_first_chunk::<2>() else { return };
    let whole = read(body);
    let at = usize::from(u16::from_le_bytes(*at)) % (body.len() + 1);
    let at = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length + 1);
    assert_same(read(body), [read(&body[..at]), read(&body[at..])]);
    let lines = body.split(|byte| *byte == b'\n').filter(|line| line.iter().any(|byte| !b" \t\r".contains(byte)));
    let mut rows = 0;
    for line in lines {
        check_line(line);
        rows += 1;
    }
    assert_eq!(super::rows_of(&whole), rows, "every line that is not blank is one row");
    check_rejected(whole);
}

fn read(body: &[u8]) -> Decoded {
    decode(Format::Ndjson, &shape(), body, MAX_BYTES, NOW_US).expect("malformed rows are no error")
}

/// One line, as the two readers see it.
fn check_line(line: &[u8]) {
    let decoded = read(line);
    let taken = decoded.accepted() == 1;
    let text = || String::from_utf8_lossy(line);
    // What is not looked at the other reader does not hold to be UTF-8.
    let object = std::str::from_utf8(line).ok().and_then(|line| serde_json::from_str::<Object>(line).ok());
    let Some(object) = object else {
        assert!(!taken, "taken, but no JSON object: {}", text());
        return;
    };
    if !taken {
        let known = ["device_id", "temperature", "count", "ok"];
        // The other columns have rules of their own, and what no column takes is not read as closely by the other reader.
        let simple = !object.has_others && object.fields.keys().all(|name| known.contains(&name.as_str()));
        assert!(!(simple && object.fits()), "a row, but rejected: {}: {:?}", text(), decoded.rejected.first());
        return;
    }
    assert!(!object.twice, "a column is there twice: {}", text());
    let row = &decoded.rows[0];
    let value = |name: &str| object.fields.get(name).filter(|value| !value.is_null());
    assert_eq!(value("device_id").and_then(Value::as_str), Some(row.column(0).as_string::<i32>().value(0)));
    let temperature = row.column(2).as_primitive::<Float64Type>();
    let found = temperature.is_valid(0).then(|| temperature.value(0).to_bits());
    let expected = value("temperature").map(|value| value.as_f64().expect("a number was taken").to_bits());
    assert_eq!(found, expected, "temperature of {}", text());
    let count = row.column(3).as_primitive::<Int64Type>();
    let found = count.is_valid(0).then(|| count.value(0));
    assert_eq!(found, value("count").map(|value| integer(value).expect("an integer was taken")), "count of {}", text());
    let ok = row.column(4).as_boolean();
    assert_eq!(ok.is_valid(0).then(|| ok.value(0)), value("ok").and_then(Value::as_bool), "ok of {}", text());
}

/// An integer; the other reader takes `-0` for a float.
fn integer(value: &Value) -> Option<i64> {
    let minus_zero = value.as_f64().is_some_and(|value| value == 0.0 && value.is_sign_negative());
    if minus_zero { Some(0) } else { value.as_i64() }
}

/// An object as the other reader sees it: the stream's columns; what no column takes is only looked over.
struct Object {
    fields: HashMap<String, Value>,
    /// Whether a column is there twice.
    twice: bool,
    /// Whether there are fields that no column takes.
    has_others: bool,
}

impl Object {
    /// Whether the values are those of the columns.
    fn fits(&self) -> bool {
        let fits = |name: &str, fits: fn(&Value) -> bool| self.fields.get(name).is_none_or(|v| v.is_null() || fits(v));
        !self.twice
            && self.fields.get("device_id").is_some_and(Value::is_string)
            && fits("temperature", Value::is_number)
            && fits("count", Value::is_i64)
            && fits("ok", Value::is_boolean)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let shape = shape();
                let mut object = Object { fields: HashMap::new(), twice: false, has_others: false };
                while let Some(name) = map.next_key::<String>()? {
                    if shape.column(&name).is_some() {
                        object.twice |= object.fields.insert(name, map.next_value()?).is_some();
                    } else {
                        object.has_others = true;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
