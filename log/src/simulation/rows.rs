//! Rows that tell where they are from: all columns follow from one number that no other row has, and from the columns
//! that the stream had when the row was appended.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::simulation::model::Row;

/// Numbers begin here, so that their eight bytes are found in a file nowhere else.
pub(super) const FIRST_NUMBER: i64 = 0x5eed_cafe_0000_0000;

/// How often the columns of a stream were changed.
pub(super) type Level = usize;

/// With this change columns widen: who reads with those before cannot go on.
const WIDENED: Level = 2;

/// The columns of every level. They move about, and are told by their names.
static SCHEMAS: LazyLock<[SchemaRef; 4]> = LazyLock::new(|| {
    let device = || Field::new("device", DataType::Utf8, false);
    let n = || Field::new("n", DataType::Int64, false);
    let note = || Field::new("note", DataType::Utf8, true);
    let hundredth = |to| Field::new("hundredth", to, false);
    let extra = |to| Field::new("extra", to, true);
    let more = || Field::new("more", DataType::Utf8, true);
    [
        vec![device(), n(), note(), hundredth(DataType::Int16)],
        vec![extra(DataType::Int32), device(), n(), note(), hundredth(DataType::Int16)],
        vec![n(), hundredth(DataType::Int32), note(), extra(DataType::Int64), device()],
        vec![more(), n(), note(), hundredth(DataType::Int64), device(), extra(DataType::Int64)],
    ]
    .map(|fields| Arc::new(Schema::new(fields)))
});

/// The level with the most changes.
pub(super) fn last_level() -> Level {
    SCHEMAS.len() - 1
}

pub(super) fn schema(level: Level) -> SchemaRef {
    Arc::clone(&SCHEMAS[level])
}

pub(super) fn level(schema: &SchemaRef) -> Level {
    SCHEMAS.iter().position(|known| known == schema).expect("streams have these columns only")
}

/// Whether rows of level `now` may be more than somebody can take who reads with the columns of `reader`.
pub(super) fn outgrew(reader: Level, now: Level) -> bool {
    reader < WIDENED && now >= WIDENED || reader < now && now > WIDENED
}

pub(super) fn batch(level: Level, numbers: &[i64]) -> RecordBatch {
    let texts = |text: &dyn Fn(i64) -> Option<String>| -> ArrayRef {
        Arc::new(numbers.iter().map(|n| text(*n)).collect::<StringArray>())
    };
    let integers = |to: &DataType, integer: &dyn Fn(i64) -> Option<i64>| {
        cast(&numbers.iter().map(|n| integer(*n)).collect::<Int64Array>(), to).unwrap()
    };
    let schema = schema(level);
    let column = |field: &Arc<Field>| match field.name().as_str() {
        "device" => texts(&|n| Some(device(n))),
        "n" => integers(field.data_type(), &Some),
        "note" => texts(&note),
        "hundredth" => integers(field.data_type(), &|n| Some(hundredth(n))),
        "extra" => integers(field.data_type(), &|n| extra(n, level)),
        _ => texts(&|n| more(n, level)),
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn device(n: i64) -> String {
    format!("d{}", n % 7)
}

fn note(n: i64) -> Option<String> {
    (n % 3 == 0).then(|| format!("note {n}"))
}

fn hundredth(n: i64) -> i64 {
    n / 100 % 1000
}

fn extra(n: i64, level: Level) -> Option<i64> {
    (level >= 1 && n % 5 != 0).then_some(n % 100_000)
}

fn more(n: i64, level: Level) -> Option<String> {
    (level >= 3).then(|| format!("more {n}"))
}

/// The numbers of rows.
pub(super) fn numbers(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

/// Checks that all columns of the rows, read with the columns of `level`, are what they were appended with.
pub(super) fn check(batch: &RecordBatch, level: Level, expected: &[Row]) -> Result<(), String> {
    if batch.schema_ref() != &SCHEMAS[level] {
        return Err(format!("expected columns {:?}, found {:?}", SCHEMAS[level], batch.schema_ref()));
    }
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name().as_str();
        let wrong = |row: &Row, found: &dyn std::fmt::Debug| Err(format!("column {name} of {row:?}: found {found:?}"));
        if field.data_type() == &DataType::Utf8 {
            let found = column.as_string::<i32>();
            for (row, found) in expected.iter().zip(found) {
                let expected = match name {
                    "device" => Some(device(row.n)),
                    "note" => note(row.n),
                    _ => more(row.n, row.level),
                };
                if found != expected.as_deref() {
                    return wrong(row, &found);
                }
            }
        } else {
            let found = cast(column, &DataType::Int64).unwrap();
            for (row, found) in expected.iter().zip(found.as_primitive::<Int64Type>()) {
                let expected = match name {
                    "n" => Some(row.n),
                    "hundredth" => Some(hundredth(row.n)),
                    _ => extra(row.n, row.level),
                };
                if found != expected {
                    return wrong(row, &found);
                }
            }
        }
    }
    Ok(())
}
