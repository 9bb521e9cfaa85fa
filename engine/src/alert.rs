//! Alerts: raise and clear conditions over a query's rows, one instance per key.
//!
//! ```text
//!           raise holds                     held for the hold time
//!  idle ─────────────────▶ pending(since) ─────────────────────────▶ raised ── clear holds ──▶ idle
//!    ▲── raise does not hold ──┘              (trigger)                          (resolve)
//! ```
//!
//! Between the conditions nothing changes. An instance's state is stored with the events it made, only when it changes,
//! so that a restart neither raises again nor forgets to resolve.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{DFSchema, plan_datafusion_err};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thermocline_log::{Commit, Log, StreamId};
use thermocline_sql::{AlertDef, timestamp_type};

use crate::error::{Error, Result};
use crate::json::rows_as_json;

const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
const DEFAULT_SEVERITY: &str = "error";

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

/// State of an instance that is not idle; idle instances are not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Instance {
    /// The raise condition has held since this event time.
    Pending { since_us: i64 },
    /// Triggered.
    Raised,
    /// Resolved at this event time; kept where rows may still be corrected, so that what was raised is not raised again.
    Cleared { at_us: i64 },
}

/// One alert over the rows of its query.
#[derive(Debug)]
pub(crate) struct AlertOperator {
    name: String,
    deployment: String,
    events: StreamId,
    key: Vec<usize>,
    time: usize,
    hold_us: i64,
    /// For so long rows may be corrected.
    lateness_us: i64,
    raise: Arc<dyn PhysicalExpr>,
    clear: Option<Arc<dyn PhysicalExpr>>,
    severity: Option<Arc<dyn PhysicalExpr>>,
    summary: Option<Arc<dyn PhysicalExpr>>,
    instances: HashMap<String, Instance>,
    columns: usize,
}

/// How an instance is moved by a row: key, row, conditions.
type StepFn = fn(&mut AlertOperator, &str, usize, &Conditions, &mut Commit) -> Option<&'static str>;

/// What the conditions say of each row of a batch.
struct Conditions {
    raise: BooleanArray,
    clear: BooleanArray,
    severity: Option<StringArray>,
    summary: Option<StringArray>,
    times: TimestampMicrosecondArray,
}

impl AlertOperator {
    /// Compiles the alert over its query's output and loads the state of its instances.
    pub(crate) fn open(
        alert: &AlertDef,
        schema: &DFSchema,
        events: StreamId,
        log: &Log,
        deployment: String,
    ) -> Result<Self> {
        let context = crate::session::stage_context();
        let compile = |expr: &Expr| context.create_physical_expr(expr.clone(), schema);
        let mut operator = Self {
            name: alert.name.clone(),
            deployment,
            events,
            key: alert.key.clone(),
            time: alert.time,
            hold_us: alert.hold_us,
            lateness_us: alert.emit.lateness_us,
            raise: compile(&alert.raise)?,
            clear: alert.clear.as_ref().map(&compile).transpose()?,
            severity: alert.severity.as_ref().map(&compile).transpose()?,
            summary: alert.summary.as_ref().map(&compile).transpose()?,
            instances: HashMap::new(),
            columns: alert.plan.schema().fields().len(),
        };
        let prefix = operator.value_name("");
        for (name, value) in log.values(&prefix) {
            let instance = serde_json::from_slice(&value).map_err(|e| Error::State {
                name: name.clone(),
                expected: "an alert's state".into(),
                found: e.to_string(),
            })?;
            operator.instances.insert(name[prefix.len()..].to_owned(), instance);
        }
        Ok(operator)
    }

    /// Bytes of the instances that are not idle.
    pub(crate) fn bytes(&self) -> usize {
        // Their names have one length.
        let name = self.instances.keys().next().map_or(0, String::len);
        self.instances.capacity() * size_of::<(String, Instance)>() + self.instances.len() * name
    }

    /// Takes the query's next rows; adds the events they make and the states they change to the commit. Returns the
    /// number of events.
    pub(crate) fn update(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        self.take(rows, Self::step, commit)
    }

    /// Takes rows that correct earlier ones. One whose condition holds raises an instance that is idle, unless it was
    /// raised and resolved at that time or after; one with a hold time is not raised, since the row stands alone. Nothing
    /// is resolved by a correction.
    pub(crate) fn correct(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        self.take(rows, Self::step_corrected, commit)
    }

    fn take(&mut self, rows: &RecordBatch, step: StepFn, commit: &mut Commit) -> Result<usize> {
        if rows.num_rows() == 0 {
            return Ok(0);
        }
        let conditions = self.evaluate(rows)?;
        let mut events = Events::default();
        for (row, key) in rows_as_json(&rows.project(&self.key)?)?.into_iter().enumerate() {
            if conditions.times.is_null(row) {
                continue;
            }
            let action = step(self, &key, row, &conditions, commit);
            if let Some(action) = action {
                events.push(self.event(action, key, row, rows, &conditions)?);
            }
        }
        let count = events.len();
        if count > 0 {
            metrics::counter!("thermocline_alert_events_total", "alert" => self.name.clone()).increment(count as u64);
            metrics::gauge!("thermocline_alerts_raised", "alert" => self.name.clone()).set(self.raised() as f64);
            commit.append(self.events, events.into_batch()?);
        }
        Ok(count)
    }

    fn raised(&self) -> usize {
        self.instances.values().filter(|instance| **instance == Instance::Raised).count()
    }

    fn evaluate(&self, rows: &RecordBatch) -> DataFusionResult<Conditions> {
        let count = rows.num_rows();
        let boolean = |expr: &Arc<dyn PhysicalExpr>| {
            Ok::<_, datafusion::error::DataFusionError>(expr.evaluate(rows)?.into_array(count)?.as_boolean().clone())
        };
        let text = |expr: &Arc<dyn PhysicalExpr>| -> DataFusionResult<StringArray> {
            let array = expr.evaluate(rows)?.into_array(count)?;
            Ok(cast(&array, &DataType::Utf8)?.as_string().clone())
        };
        let raise = boolean(&self.raise)?;
        let clear = match &self.clear {
            Some(clear) => boolean(clear)?,
            None => arrow::compute::not(&raise)?,
        };
        let times = cast(rows.column(self.time), &timestamp_type())?;
        let times = times
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| plan_datafusion_err!("alert {}: the time column is no timestamp", self.name))?
            .clone();
        Ok(Conditions {
            raise,
            clear,
            severity: self.severity.as_ref().map(text).transpose()?,
            summary: self.summary.as_ref().map(text).transpose()?,
            times,
        })
    }

    /// Moves one instance by one row; stores its state when that changed.
    fn step(&mut self, key: &str, row: usize, conditions: &Conditions, commit: &mut Commit) -> Option<&'static str> {
        let is_true = |condition: &BooleanArray| condition.is_valid(row) && condition.value(row);
        let time_us = conditions.times.value(row);
        let id = dedup_key(&self.deployment, &self.name, key);
        let before = self.instances.get(&id).cloned();
        let cleared = match before {
            Some(Instance::Cleared { at_us }) if time_us.saturating_sub(at_us) <= self.lateness_us => before.clone(),
            _ => None,
        };
        let (after, action) = match before {
            Some(Instance::Raised) if is_true(&conditions.clear) => {
                let cleared = Instance::Cleared { at_us: time_us };
                ((self.lateness_us > 0).then_some(cleared), Some("resolve"))
            }
            Some(Instance::Raised) => (Some(Instance::Raised), None),
            _ if !is_true(&conditions.raise) => (cleared, None),
            None | Some(Instance::Pending { .. } | Instance::Cleared { .. }) => {
                let since_us = match before {
                    Some(Instance::Pending { since_us }) => since_us,
                    _ => time_us,
                };
                match time_us.saturating_sub(since_us) >= self.hold_us {
                    true => (Some(Instance::Raised), Some("trigger")),
                    false => (Some(Instance::Pending { since_us }), None),
                }
            }
        };
        if after != before {
            self.store(id, after, commit);
        }
        action
    }

    /// The same for a row that corrects an earlier one.
    fn step_corrected(
        &mut self,
        key: &str,
        row: usize,
        conditions: &Conditions,
        commit: &mut Commit,
    ) -> Option<&'static str> {
        let raises = conditions.raise.is_valid(row) && conditions.raise.value(row) && self.hold_us == 0;
        let id = dedup_key(&self.deployment, &self.name, key);
        let is_idle = match self.instances.get(&id) {
            None => true,
            Some(Instance::Cleared { at_us }) => *at_us < conditions.times.value(row),
            Some(Instance::Raised | Instance::Pending { .. }) => false,
        };
        if !raises || !is_idle {
            return None;
        }
        self.store(id, Some(Instance::Raised), commit);
        Some("trigger")
    }

    fn store(&mut self, id: String, instance: Option<Instance>, commit: &mut Commit) {
        let name = self.value_name(&id);
        match instance {
            Some(instance) => {
                commit.put(name, serde_json::to_vec(&instance).expect("a state always serialises"));
                self.instances.insert(id, instance);
            }
            None => {
                commit.delete(name);
                self.instances.remove(&id);
            }
        }
    }

    fn event(
        &self,
        action: &'static str,
        key: String,
        row: usize,
        rows: &RecordBatch,
        conditions: &Conditions,
    ) -> Result<Event> {
        let text =
            |column: &Option<StringArray>| column.as_ref().filter(|c| c.is_valid(row)).map(|c| c.value(row).to_owned());
        let severity = text(&conditions.severity).unwrap_or_else(|| DEFAULT_SEVERITY.to_owned());
        let severity = if SEVERITIES.contains(&severity.as_str()) {
            severity
        } else {
            tracing::warn!(alert = self.name, severity, "unknown severity, expected one of {SEVERITIES:?}");
            DEFAULT_SEVERITY.to_owned()
        };
        let columns: Vec<usize> = (0..self.columns).collect();
        Ok(Event {
            time_us: conditions.times.value(row),
            alert: self.name.clone(),
            dedup_key: dedup_key(&self.deployment, &self.name, &key),
            action,
            severity,
            summary: text(&conditions.summary).unwrap_or_else(|| format!("{} {key}", self.name)),
            key,
            details: rows_as_json(&rows.slice(row, 1).project(&columns)?)?.remove(0),
        })
    }

    fn value_name(&self, instance: &str) -> String {
        format!("alert/{}/{instance}", self.name)
    }
}

/// A stable identity of an alert instance: severity is no part of it.
fn dedup_key(deployment: &str, alert: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    for part in [deployment, alert, key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

struct Event {
    time_us: i64,
    alert: String,
    dedup_key: String,
    action: &'static str,
    severity: String,
    summary: String,
    key: String,
    details: String,
}

#[derive(Default)]
struct Events(Vec<Event>);

impl Events {
    fn push(&mut self, event: Event) {
        self.0.push(event);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn into_batch(self) -> Result<RecordBatch> {
        let times = TimestampMicrosecondArray::from_iter_values(self.0.iter().map(|e| e.time_us)).with_timezone("UTC");
        let text = |field: fn(&Event) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(self.0.iter().map(field)))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times),
            text(|e| &e.alert),
            text(|e| &e.dedup_key),
            text(|e| e.action),
            text(|e| &e.severity),
            text(|e| &e.summary),
            text(|e| &e.key),
            text(|e| &e.details),
        ];
        Ok(RecordBatch::try_new(alert_event_schema(), columns)?)
    }
}
