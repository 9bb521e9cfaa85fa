//! Rows as JSON objects: every column present (nulls too), timestamps as RFC 3339 in UTC, floats that JSON cannot
//! write (NaN, infinities) as null.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};

use crate::alert::rfc3339;
use crate::error::Result;

/// Every row as the text of a JSON object.
pub(crate) fn rows(batch: &RecordBatch) -> Result<Vec<String>> {
    if batch.num_columns() == 0 {
        return Ok(vec!["{}".to_owned(); batch.num_rows()]);
    }
    let rows = StructArray::from(batch.clone());
    let field: FieldRef = Arc::new(arrow::datatypes::Field::new("row", rows.data_type().clone(), false));
    let options = EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Timestamps));
    let mut encoder = make_encoder(&field, &rows, &options)?;
    let mut texts = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        let mut text = Vec::new();
        encoder.encode(row, &mut text);
        texts.push(String::from_utf8(text).map_err(|error| ArrowError::JsonError(error.to_string()))?);
    }
    Ok(texts)
}

/// One row as the text of a JSON object.
pub(crate) fn row(batch: &RecordBatch, row: usize) -> Result<String> {
    Ok(rows(&batch.slice(row, 1))?.remove(0))
}

/// Writes timestamps that no calendar reaches as a number of µs where Arrow would write an error text.
#[derive(Debug)]
struct Timestamps;

impl EncoderFactory for Timestamps {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !matches!(array.data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some(_))) {
            return Ok(None);
        }
        let values = array.as_primitive::<TimestampMicrosecondType>().values();
        Ok(Some(NullableEncoder::new(Box::new(TimestampEncoder(values)), array.nulls().cloned())))
    }
}

struct TimestampEncoder<'a>(&'a [i64]);

impl Encoder for TimestampEncoder<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(rfc3339(self.0[row]).as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn nulls_are_written_and_what_json_cannot_say_is_null() {
        let batch = RecordBatch::try_from_iter([
            (
                "ts",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![Some(1_500_000), None, Some(i64::MIN)]).with_timezone("UTC"),
                ) as Arc<dyn Array>,
            ),
            ("value", Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY]))),
            ("text", Arc::new(StringArray::from(vec!["a\"b\nü", "", "\u{1}"]))),
        ])
        .unwrap();
        assert_eq!(
            rows(&batch).unwrap(),
            [
                r#"{"ts":"1970-01-01T00:00:01.500Z","value":1.5,"text":"a\"b\nü"}"#,
                r#"{"ts":null,"value":null,"text":""}"#,
                r#"{"ts":"-9223372036854775808","value":null,"text":"\u0001"}"#,
            ]
        );
    }
}
