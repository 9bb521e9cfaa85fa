//! Rows as JSON objects.

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;

use crate::error::Result;

/// Each row as a JSON object, columns in their order, NULL columns left out.
pub(crate) fn rows_as_json(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut bytes);
    writer.write(rows)?;
    writer.finish()?;
    let lines = String::from_utf8(bytes).expect("JSON is UTF-8");
    Ok(lines.lines().map(str::to_owned).collect())
}
