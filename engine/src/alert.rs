//! Alerts: raise and clear conditions over a query's rows, one instance per key.
//!
//! ```text
//!           raise holds                     held for the hold time
//!  idle ─────────────────▶ pending(since) ─────────────────────────▶ raised ── clear holds ──▶ idle
//!    ▲── raise does not hold ──┘              (trigger)                          (resolve)
//! ```
//!
//! Between the conditions nothing changes. An alert that watches for silence has no conditions: its query says what is
//! raised and cleared (`ordered/absence`).
//!
//! A row that a condition fails on moves nothing and is kept in `failed.<query>`. Where the severity or the summary fails,
//! the alert is raised all the same, without it, and the row is kept there too.

mod event;
mod expressions;
mod instances;

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::{DFSchema, plan_datafusion_err};
use datafusion::logical_expr::Expr;
use thermocline_log::{Commit, Log, StreamId};
use thermocline_sql::{AlertDef, AlertRule, timestamp_type};

use crate::error::Result;
use crate::json::rows_as_json;
use crate::query::{FailedResults, FailedRow};
use event::{Action, Event, dedup_key, events_batch};
use expressions::RowExpression;
use instances::{Instance, Instances};

pub use event::alert_event_schema;

const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
const DEFAULT_SEVERITY: &str = "error";

/// One alert over the rows of its query.
#[derive(Debug)]
pub(crate) struct AlertOperator {
    name: String,
    deployment: String,
    events: StreamId,
    key: Vec<usize>,
    /// `None` for an alert that watches for silence.
    conditions: Option<Conditions>,
    severity: Option<RowExpression>,
    summary: Option<RowExpression>,
    instances: Instances,
    columns: usize,
    failed: FailedResults,
}

/// When an alert is raised and cleared.
#[derive(Debug)]
struct Conditions {
    time: usize,
    hold_us: i64,
    /// For so long rows may be corrected.
    lateness_us: i64,
    raise: RowExpression,
    clear: Option<RowExpression>,
}

/// What the conditions say of a row.
#[derive(Debug, Clone, Copy)]
struct Row {
    time_us: i64,
    raises: bool,
    clears: bool,
}

/// How an instance is moved by a row.
type StepFn = fn(&Conditions, Option<Instance>, Row) -> (Option<Instance>, Option<Action>);

/// A row that moved an instance.
struct Moved {
    row: u32,
    time_us: i64,
    action: Action,
    id: String,
    key: String,
}

impl AlertOperator {
    /// Compiles the alert over its query's output and loads the state of its instances.
    pub(crate) fn open(
        alert: &AlertDef,
        schema: &DFSchema,
        events: StreamId,
        failed: FailedResults,
        log: &Log,
        deployment: String,
    ) -> Result<Self> {
        let compile = |expr: &Expr| RowExpression::compile(expr, schema);
        let conditions = match &alert.rule {
            AlertRule::NoData => None,
            AlertRule::When(conditions) => Some(Conditions {
                time: conditions.time,
                hold_us: conditions.hold_us,
                lateness_us: alert.emit.lateness_us,
                raise: compile(&conditions.raise)?,
                clear: conditions.clear.as_ref().map(&compile).transpose()?,
            }),
        };
        Ok(Self {
            deployment,
            events,
            key: alert.key.clone(),
            conditions,
            severity: alert.severity.as_ref().map(&compile).transpose()?,
            summary: alert.summary.as_ref().map(&compile).transpose()?,
            instances: Instances::load(&alert.name, log)?,
            columns: alert.plan.schema().fields().len(),
            name: alert.name.clone(),
            failed,
        })
    }

    /// Bytes of the instances that are not idle.
    pub(crate) fn bytes(&self) -> usize {
        self.instances.bytes()
    }

    /// Takes the query's next rows; adds the events they make and the states they change to the commit. Returns the
    /// number of events.
    pub(crate) fn update(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        self.take(rows, Conditions::step, commit)
    }

    /// Takes rows that correct earlier ones. One whose condition holds raises an instance that is idle, unless it was
    /// raised and resolved at that time or after; one with a hold time is not raised, since the row stands alone. Nothing
    /// is resolved by a correction.
    pub(crate) fn correct(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<usize> {
        self.take(rows, Conditions::step_corrected, commit)
    }

    fn take(&mut self, rows: &RecordBatch, step: StepFn, commit: &mut Commit) -> Result<usize> {
        if rows.num_rows() == 0 {
            return Ok(0);
        }
        let own = rows.project(&(0..self.columns).collect::<Vec<_>>())?;
        let moved = match &self.conditions {
            None => self.told(rows, commit)?,
            Some(conditions) => {
                let (said, failed) = conditions.evaluate(&own, &self.name)?;
                self.failed.keep(&own, &failed, commit)?;
                let mut moved = Vec::new();
                for (row, key) in rows_as_json(&rows.project(&self.key)?)?.into_iter().enumerate() {
                    let Some(said) = said[row] else { continue };
                    let id = dedup_key(&self.deployment, &self.name, &key);
                    let (after, action) = step(conditions, self.instances.get(&id), said);
                    self.instances.set(&id, after, commit);
                    let row = row as u32;
                    moved.extend(action.map(|action| Moved { row, time_us: said.time_us, action, id, key }));
                }
                moved
            }
        };
        self.tell(&own, moved, commit)
    }

    /// Rows that say themselves what they raise and clear. What is so already is not told again.
    fn told(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<Vec<Moved>> {
        let raised = rows.column(self.columns).as_boolean();
        let times = rows.column(self.columns + 1).as_primitive::<TimestampMicrosecondType>();
        let mut moved = Vec::new();
        for (row, key) in rows_as_json(&rows.project(&self.key)?)?.into_iter().enumerate() {
            let id = dedup_key(&self.deployment, &self.name, &key);
            let is_raised = self.instances.get(&id) == Some(Instance::Raised);
            if is_raised == raised.value(row) {
                continue;
            }
            self.instances.set(&id, raised.value(row).then_some(Instance::Raised), commit);
            let action = if raised.value(row) { Action::Trigger } else { Action::Resolve };
            moved.push(Moved { row: row as u32, time_us: times.value(row), action, id, key });
        }
        Ok(moved)
    }

    /// Makes events of the rows that moved an instance; returns how many.
    fn tell(&self, rows: &RecordBatch, moved: Vec<Moved>, commit: &mut Commit) -> Result<usize> {
        if moved.is_empty() {
            return Ok(0);
        }
        let rows = take_record_batch(rows, &UInt32Array::from_iter_values(moved.iter().map(|moved| moved.row)))?;
        let severities = self.texts(self.severity.as_ref(), &rows, commit)?;
        let summaries = self.texts(self.summary.as_ref(), &rows, commit)?;
        let details = rows_as_json(&rows)?;
        let texts = severities.into_iter().zip(summaries).zip(details);
        let events: Vec<Event> = moved
            .into_iter()
            .zip(texts)
            .map(|(Moved { time_us, action, id, key, .. }, ((severity, summary), details))| Event {
                time_us,
                alert: self.name.clone(),
                dedup_key: id,
                action,
                severity: self.known_severity(severity),
                summary: summary.unwrap_or_else(|| format!("{} {key}", self.name)),
                key,
                details,
            })
            .collect();
        let count = events.len();
        metrics::counter!("thermocline_alert_events_total", "alert" => self.name.clone()).increment(count as u64);
        metrics::gauge!("thermocline_alerts_raised", "alert" => self.name.clone()).set(self.instances.raised() as f64);
        commit.append(self.events, events_batch(&events)?);
        Ok(count)
    }

    fn texts(
        &self,
        expression: Option<&RowExpression>,
        rows: &RecordBatch,
        commit: &mut Commit,
    ) -> Result<Vec<Option<String>>> {
        let Some(expression) = expression else { return Ok(vec![None; rows.num_rows()]) };
        let (texts, failed) = expression.texts(rows)?;
        self.failed.keep(rows, &failed, commit)?;
        Ok(texts)
    }

    fn known_severity(&self, severity: Option<String>) -> String {
        let severity = severity.unwrap_or_else(|| DEFAULT_SEVERITY.to_owned());
        if SEVERITIES.contains(&severity.as_str()) {
            return severity;
        }
        tracing::warn!(alert = self.name, severity, "unknown severity, expected one of {SEVERITIES:?}");
        DEFAULT_SEVERITY.to_owned()
    }
}

impl Conditions {
    /// What the conditions say of each row, `None` where the row has no time or a condition fails; and the rows that one
    /// fails on.
    fn evaluate(&self, rows: &RecordBatch, alert: &str) -> Result<(Vec<Option<Row>>, Vec<FailedRow>)> {
        let times = cast(rows.column(self.time), &timestamp_type())?;
        let times: &TimestampMicrosecondArray = times
            .as_primitive_opt()
            .ok_or_else(|| plan_datafusion_err!("alert {alert}: the time column is no timestamp"))?;
        let (raises, mut failed) = self.raise.conditions(rows)?;
        let clears = match &self.clear {
            None => raises.iter().map(|raises| raises.map(|raises| !raises)).collect(),
            Some(clear) => {
                let (clears, more) = clear.conditions(rows)?;
                failed.extend(more);
                failed.sort_by_key(|failed| failed.row);
                failed.dedup_by_key(|failed| failed.row);
                clears
            }
        };
        let said = |row: usize| Row {
            time_us: times.value(row),
            raises: raises[row] == Some(true),
            clears: clears[row] == Some(true),
        };
        let mut said: Vec<Option<Row>> =
            (0..rows.num_rows()).map(|row| times.is_valid(row).then(|| said(row))).collect();
        failed.iter().for_each(|failed| said[failed.row as usize] = None);
        Ok((said, failed))
    }

    /// Moves one instance by one row.
    fn step(&self, before: Option<Instance>, row: Row) -> (Option<Instance>, Option<Action>) {
        let Row { time_us, raises, clears } = row;
        let cleared = match before {
            Some(Instance::Cleared { at_us }) if time_us.saturating_sub(at_us) <= self.lateness_us => before,
            _ => None,
        };
        match before {
            Some(Instance::Raised) if clears => {
                let cleared = Instance::Cleared { at_us: time_us };
                ((self.lateness_us > 0).then_some(cleared), Some(Action::Resolve))
            }
            Some(Instance::Raised) => (before, None),
            _ if !raises => (cleared, None),
            None | Some(Instance::Pending { .. } | Instance::Cleared { .. }) => {
                let since_us = match before {
                    Some(Instance::Pending { since_us }) => since_us,
                    _ => time_us,
                };
                match time_us.saturating_sub(since_us) >= self.hold_us {
                    true => (Some(Instance::Raised), Some(Action::Trigger)),
                    false => (Some(Instance::Pending { since_us }), None),
                }
            }
        }
    }

    /// The same for a row that corrects an earlier one.
    fn step_corrected(&self, before: Option<Instance>, row: Row) -> (Option<Instance>, Option<Action>) {
        let is_idle = match before {
            None => true,
            Some(Instance::Cleared { at_us }) => at_us < row.time_us,
            Some(Instance::Raised | Instance::Pending { .. }) => false,
        };
        match row.raises && self.hold_us == 0 && is_idle {
            true => (Some(Instance::Raised), Some(Action::Trigger)),
            false => (before, None),
        }
    }
}
