//! Bodies and identities of webhook messages.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::alert::{AlertAction, AlertBatch, event_json, is_alert_schema, rfc3339};
use crate::columns::event_time;
use crate::error::Result;
use crate::identity::RowId;
use crate::json;

/// The body for each row.
pub(super) fn bodies(batch: &RecordBatch, now_us: i64) -> Result<Vec<String>> {
    if is_alert_schema(&batch.schema()) { alert_bodies(batch, now_us) } else { row_bodies(batch, now_us) }
}

fn alert_bodies(batch: &RecordBatch, now_us: i64) -> Result<Vec<String>> {
    let alerts = AlertBatch::try_new(batch)?;
    let mut bodies = Vec::with_capacity(alerts.len());
    for row in 0..alerts.len() {
        bodies.push(match alerts.event(row) {
            Some(event) => {
                let kind = match event.action {
                    AlertAction::Trigger => "alert.triggered",
                    AlertAction::Resolve => "alert.resolved",
                };
                message(kind, event.ts_us, &event_json(&event).to_string())
            }
            None => message("row", now_us, &json::row(batch, row)?),
        });
    }
    Ok(bodies)
}

fn row_bodies(batch: &RecordBatch, now_us: i64) -> Result<Vec<String>> {
    let times = match event_time(&batch.schema(), None) {
        Some(column) => Some(cast(batch.column(column), &DataType::Timestamp(TimeUnit::Microsecond, None))?),
        None => None,
    };
    let times = times.as_ref().map(|times| times.as_primitive::<TimestampMicrosecondType>());
    let data = json::rows(batch)?;
    let bodies = data.iter().enumerate().map(|(row, data)| {
        let time = times.filter(|times| times.is_valid(row)).map_or(now_us, |times| times.value(row));
        message("row", time, data)
    });
    Ok(bodies.collect())
}

/// The body of a message: its type, the time of what happened, and the data.
fn message(kind: &str, time_us: i64, data: &str) -> String {
    format!(r#"{{"type":"{kind}","timestamp":"{}","data":{data}}}"#, rfc3339(time_us))
}

/// `webhook-id`: the same for a row on every attempt and in every run, and different for every other row.
pub(super) fn message_id(deployment: &str, sink: &str, row: &RowId) -> String {
    let mut hash = Sha256::new();
    for part in [deployment, sink, &row.feed.name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(row.feed.partition.to_be_bytes());
    hash.update(row.offset.to_be_bytes());
    hash.update(row.ordinal.to_be_bytes());
    format!("msg_{}", URL_SAFE_NO_PAD.encode(&hash.finalize()[..20]))
}
