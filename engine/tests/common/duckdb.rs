//! DuckDB as an oracle, in a Python process; random cases by seed.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The seed of `THERMOCLINE_SEED`, or the first `THERMOCLINE_SEEDS`, or so many.
pub fn seeds(cases: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|number| number.parse().unwrap());
    match number("THERMOCLINE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("THERMOCLINE_SEEDS").unwrap_or(cases)).collect(),
    }
}

/// Whether there are as many cases as the test is written for: then they come across everything.
pub fn all_seeds() -> bool {
    ["THERMOCLINE_SEED", "THERMOCLINE_SEEDS"].iter().all(|name| std::env::var_os(name).is_none())
}

/// Runs once per `request`, with a connection `db` and `load(table, columns, rows)`, what leaves rows in `found`.
const PROLOGUE: &str = r#"
import json, sys
import duckdb
db = duckdb.connect()
db.execute("SET threads = 1")
text = lambda v: str(v) if isinstance(v, float) and (v != v or abs(v) == float("inf")) else v
def load(table, columns, rows):
    db.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")
    types = [column.split()[1] for column in columns.split(", ")]
    # As text: a Python NaN in a list arrives as NULL.
    cell = lambda t, v: str(v) if t == "DOUBLE" and v is not None else v
    values = [[cell(t, v) for v in column] for t, column in zip(types, zip(*rows))]
    unnested = [f"unnest(?::TEXT[])::DOUBLE" if t == "DOUBLE" else f"unnest(?::{t}[])" for t in types]
    if rows:
        db.execute(f"INSERT INTO {table} SELECT " + ", ".join(unnested), values)
for line in sys.stdin:
    request = json.loads(line)
"#;

/// The rows that the script finds for each request; one process for all.
pub fn answers(script: &str, requests: &[Value]) -> Vec<Vec<Value>> {
    let body: String = script.lines().map(|line| format!("    {line}\n")).collect();
    ask(
        &format!("{PROLOGUE}{body}\n    print(json.dumps([[text(v) for v in row] for row in found]), flush=True)\n"),
        requests,
    )
}

/// The lines that a Python script prints for requests, a line each; one process for all.
pub fn ask<T: DeserializeOwned>(script: &str, requests: &[Value]) -> Vec<T> {
    let default = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/thermocline/venv/bin/python");
    let python = std::env::var_os("THERMOCLINE_PYTHON").map_or_else(default, PathBuf::from);
    let mut process = Command::new(&python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/install-test-tools", python.display()));
    let mut input = process.stdin.take().unwrap();
    let lines: Vec<String> = requests.iter().map(ToString::to_string).collect();
    let writer = std::thread::spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")));
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "python with the module duckdb; run scripts/install-test-tools");
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows as JSON arrays: times in microseconds, NaN and infinities as text.
pub fn cells(batch: &RecordBatch) -> Vec<Value> {
    let cell = |column: &ArrayRef, row: usize| match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Timestamp(..) => json!(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        _ => json!(column.as_string::<i32>().value(row)),
    };
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

/// A float as [`cells`] gives it.
pub fn float(value: f64) -> Value {
    match value.is_finite() {
        true => json!(value),
        false if value.is_nan() => json!("nan"),
        false => json!(if value > 0.0 { "inf" } else { "-inf" }),
    }
}

/// Whether two rows are the same, floats but for rounding.
pub fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| same(f, e))
        }
        (Value::Number(found), Value::Number(expected)) if found.is_f64() || expected.is_f64() => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
        }
        _ => found == expected,
    }
}
