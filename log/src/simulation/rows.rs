//! Rows that tell where they are from: all columns follow from one number that no other row has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

/// Numbers begin here, so that their eight bytes are found in a file nowhere else.
pub(super) const FIRST_NUMBER: i64 = 0x5eed_cafe_0000_0000;

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8, false),
        Field::new("n", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
    ]))
}

pub(super) fn batch(numbers: &[i64]) -> RecordBatch {
    let device: Vec<String> = numbers.iter().map(|n| device(*n)).collect();
    let note: Vec<Option<String>> = numbers.iter().map(|n| note(*n)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(device)),
        Arc::new(Int64Array::from(numbers.to_vec())),
        Arc::new(StringArray::from(note)),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn device(n: i64) -> String {
    format!("d{}", n % 7)
}

fn note(n: i64) -> Option<String> {
    (n % 3 == 0).then(|| format!("note {n}"))
}

/// The numbers of rows with all columns; an error when another column does not fit its number.
pub(super) fn numbers(batch: &RecordBatch) -> Result<Vec<i64>, String> {
    let (devices, notes) = (batch.column(0).as_string::<i32>(), batch.column(2).as_string::<i32>());
    let numbers = batch.column(1).as_primitive::<Int64Type>().values().to_vec();
    for (row, n) in numbers.iter().enumerate() {
        let found_note = notes.is_valid(row).then(|| notes.value(row));
        if devices.value(row) != device(*n) || found_note != note(*n).as_deref() {
            return Err(format!("row {n}: found device {:?}, note {found_note:?}", devices.value(row)));
        }
    }
    Ok(numbers)
}
