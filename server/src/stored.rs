//! A pipeline over a data directory of an earlier one: what its streams cannot become is a mistake of the text, said at
//! its place and in SQL's words.

use arrow::datatypes::Field;
use thermocline_log::Error as LogError;
use thermocline_sql::{Diagnostic, Pipeline, Severity, Span, sql_name};

use crate::error::Error;

const COLUMNS_HINT: &str = "a stream may gain columns that may be NULL, widen SMALLINT to INTEGER and both to BIGINT, \
     these two and REAL to DOUBLE, DECIMAL to more digits, and drop NOT NULL; for another change take a new name or another \
     data directory";
const PARTITIONS_HINT: &str =
    "partitions and key of a stream stay as they are: take a new name or another data directory";

/// The finding about a pipeline that does not start because the data directory holds a stream of another definition.
#[must_use]
pub fn stored_conflict(pipeline: &Pipeline, error: &Error) -> Option<Diagnostic> {
    let (Error::Log(error) | Error::Engine(thermocline_engine::Error::Log(error))) = error else { return None };
    let (stream, message, hint) = match error {
        LogError::ColumnMismatch { stream, column, expected, found, .. } => {
            let (expected, found) = (column_text(expected.as_deref()), column_text(found.as_deref()));
            let message = format!(
                "stream {stream:?} is stored with another column {column:?}: the pipeline says {expected}, the data directory {found}"
            );
            (stream, message, COLUMNS_HINT)
        }
        LogError::StreamMismatch { name, what, expected, found } => {
            let message = format!(
                "stream {name:?} is stored with another {what}: the pipeline says {expected}, the data directory {found}"
            );
            (name, message, PARTITIONS_HINT)
        }
        _ => return None,
    };
    Some(Diagnostic {
        severity: Severity::Error,
        code: "TC0210",
        message,
        span: statement_of(pipeline, stream)?,
        label: String::new(),
        hint: Some(hint.to_owned()),
    })
}

/// The statement that a stream of the log is there for.
fn statement_of(pipeline: &Pipeline, stream: &str) -> Option<Span> {
    if let Some(declared) = pipeline.streams.get(stream) {
        return Some(declared.span.clone());
    }
    if let Some(view) = pipeline.materialized.values().find(|view| view.stream == stream) {
        return Some(view.span.clone());
    }
    let query = stream.strip_prefix("out.").or_else(|| stream.strip_prefix("failed."))?;
    pipeline.queries.iter().find(|known| known.name == query).map(|known| known.span.clone())
}

fn column_text(column: Option<&Field>) -> String {
    match column {
        None => "no such column".to_owned(),
        Some(column) if column.is_nullable() => sql_name(column.data_type()),
        Some(column) => format!("{} NOT NULL", sql_name(column.data_type())),
    }
}
