//! Alert events: the columns that alert-capable sinks take, and a typed view of one row.
//!
//! Per `dedup_key` the events alternate: a trigger when the alert is raised, a resolve when it is cleared. A sink may
//! rely on it, and on the order of one key's events within one partition.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat};

use crate::error::{Error, Result};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("alert"),
        text("dedup_key"),
        text("action"),
        text("severity"),
        text("summary"),
        text("key"),
        text("details"),
    ]))
});

/// Columns of alert events, all not null:
///
/// | column | type | meaning |
/// | --- | --- | --- |
/// | `ts` | timestamp (µs, UTC) | event time of the change |
/// | `alert` | text | name of the alert |
/// | `dedup_key` | text | stable identity of the alert instance |
/// | `action` | text | `trigger` or `resolve` |
/// | `severity` | text | `critical`, `error`, `warning` or `info` |
/// | `summary` | text | one line for a person |
/// | `key` | text | JSON object of the key columns |
/// | `details` | text | JSON object of the query's row |
#[must_use]
pub fn alert_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Whether rows of this schema are alert events (names and types; metadata does not matter).
#[must_use]
pub fn is_alert_schema(schema: &Schema) -> bool {
    schema.fields().len() == SCHEMA.fields().len()
        && schema
            .fields()
            .iter()
            .zip(SCHEMA.fields())
            .all(|(have, want)| have.name() == want.name() && have.data_type() == want.data_type())
}

/// What an alert event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertAction {
    /// The alert was raised.
    Trigger,
    /// The alert was cleared.
    Resolve,
}

impl AlertAction {
    /// The word in the `action` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Resolve => "resolve",
        }
    }
}

/// One alert event, borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct AlertEvent<'a> {
    /// Event time of the change, µs since the epoch.
    pub ts_us: i64,
    /// Name of the alert.
    pub alert: &'a str,
    /// Stable identity of the alert instance.
    pub dedup_key: &'a str,
    /// Raised or cleared.
    pub action: AlertAction,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: &'a str,
    /// One line for a person.
    pub summary: &'a str,
    /// JSON object of the key columns.
    pub key: &'a str,
    /// JSON object of the query's row.
    pub details: &'a str,
}

impl AlertEvent<'_> {
    /// Event time as RFC 3339 in UTC; the epoch's µs as a number where no calendar reaches it.
    #[must_use]
    pub fn timestamp(&self) -> String {
        rfc3339(self.ts_us)
    }
}

/// A batch of alert events.
#[derive(Debug)]
pub struct AlertBatch<'a> {
    ts_us: &'a [i64],
    text: [&'a StringArray; 7],
}

impl<'a> AlertBatch<'a> {
    /// Views a batch as alert events.
    ///
    /// # Errors
    /// [`Error::Schema`] if the columns are not those of [`alert_schema`].
    pub fn try_new(batch: &'a RecordBatch) -> Result<Self> {
        let misfit = || Error::Schema {
            expected: "the columns of alert events (ts, alert, dedup_key, action, severity, summary, key, details)"
                .into(),
            found: batch.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", "),
        };
        if !is_alert_schema(&batch.schema()) {
            return Err(misfit());
        }
        let ts = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(misfit)?;
        let mut text = Vec::with_capacity(7);
        for column in &batch.columns()[1..] {
            text.push(column.as_string_opt::<i32>().ok_or_else(misfit)?);
        }
        Ok(Self { ts_us: ts.values(), text: text.try_into().map_err(|_| misfit())? })
    }

    /// The event of a row; `None` where `action` is neither `trigger` nor `resolve`.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn event(&self, row: usize) -> Option<AlertEvent<'a>> {
        let text = |column: usize| {
            let array: &'a StringArray = self.text[column];
            array.value(row)
        };
        let action = match text(2) {
            "trigger" => AlertAction::Trigger,
            "resolve" => AlertAction::Resolve,
            _ => return None,
        };
        Some(AlertEvent {
            ts_us: self.ts_us[row],
            alert: text(0),
            dedup_key: text(1),
            action,
            severity: text(3),
            summary: text(4),
            key: text(5),
            details: text(6),
        })
    }

    /// How many events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text[0].len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// µs since the epoch as RFC 3339 in UTC; as a plain number where the calendar does not reach.
pub(crate) fn rfc3339(us: i64) -> String {
    DateTime::from_timestamp_micros(us)
        .map_or_else(|| us.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// An event as a JSON object, its key and details as objects.
pub(crate) fn event_json(event: &AlertEvent<'_>) -> serde_json::Value {
    serde_json::json!({
        "ts": event.timestamp(),
        "alert": event.alert,
        "dedup_key": event.dedup_key,
        "action": event.action.as_str(),
        "severity": event.severity,
        "summary": event.summary,
        "key": object(event.key),
        "details": object(event.details),
    })
}

/// JSON text as a value; as plain text where it is none.
pub(crate) fn object(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
