//! What an alert tells its sink: rows of the stream `alerts.<name>`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sha2::{Digest, Sha256};
use thermocline_sql::timestamp_type;

use crate::error::Result;

/// Columns of the stream `alerts.<name>`: one row per raised or cleared alert.
#[must_use]
pub fn alert_event_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        Field::new("ts", timestamp_type(), false),
        text("alert"),
        text("dedup_key"),
        text("action"),
        text("severity"),
        text("summary"),
        text("key"),
        text("details"),
    ]))
}

/// A stable identity of an alert instance: severity is no part of it.
pub(super) fn dedup_key(deployment: &str, alert: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    for part in [deployment, alert, key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What happens to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Trigger,
    Resolve,
}

impl Action {
    fn text(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Resolve => "resolve",
        }
    }
}

/// A row of `alerts.<name>`.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) time_us: i64,
    pub(super) alert: String,
    pub(super) dedup_key: String,
    pub(super) action: Action,
    pub(super) severity: String,
    pub(super) summary: String,
    pub(super) key: String,
    pub(super) details: String,
}

pub(super) fn events_batch(events: &[Event]) -> Result<RecordBatch> {
    let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|e| e.time_us)).with_timezone("UTC");
    let text =
        |field: fn(&Event) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(events.iter().map(field))) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        text(|e| &e.alert),
        text(|e| &e.dedup_key),
        text(|e| e.action.text()),
        text(|e| &e.severity),
        text(|e| &e.summary),
        text(|e| &e.key),
        text(|e| &e.details),
    ];
    Ok(RecordBatch::try_new(alert_event_schema(), columns)?)
}
