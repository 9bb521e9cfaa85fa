//! Rows and alert events as lines of JSON.

use arrow::array::RecordBatch;

use crate::alert::{AlertBatch, event_json, is_alert_schema};
use crate::error::Result;
use crate::json;

/// One line a row, each ended by a newline.
pub(super) fn lines(batch: &RecordBatch) -> Result<String> {
    let mut lines = String::new();
    if is_alert_schema(&batch.schema()) {
        let alerts = AlertBatch::try_new(batch)?;
        for row in 0..alerts.len() {
            match alerts.event(row) {
                Some(event) => lines.push_str(&event_json(&event).to_string()),
                None => lines.push_str(&json::row(batch, row)?),
            }
            lines.push('\n');
        }
    } else {
        for row in json::rows(batch)? {
            lines.push_str(&row);
            lines.push('\n');
        }
    }
    Ok(lines)
}
