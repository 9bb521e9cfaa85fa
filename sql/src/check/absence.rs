//! `RAISE WHEN NO DATA FOR …`: what can be watched for silence, and which keys are.

use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan};
use sqlparser::tokenizer::Span as At;

use super::Checker;
use crate::ast::{Body, Clause, CreateAlert, NoData, Statement};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lineage;
use crate::parse::normalized;
use crate::shape::{Absence, OrderedShape, QueryShape};
use crate::suggest;
use crate::types::{fits, sql_name};
use crate::units::interval_us;

impl Checker {
    /// The shape of an alert that watches keys for silence; `None` when there are mistakes, which are reported.
    pub(super) fn absence(
        &mut self,
        statement: &Statement,
        alert: &CreateAlert,
        no_data: &NoData,
        plan: &LogicalPlan,
        key: &[usize],
        clear: Option<PlanExpr>,
    ) -> Option<OrderedShape> {
        let before = self.errors();
        let interval_us = self.silence(statement, &no_data.interval, "NO DATA FOR");
        let forget_us = self.forget(statement, alert, no_data, interval_us);
        let stream = self.watched_stream(statement, &alert.query, plan);
        let expected = match &no_data.expecting {
            Some(expecting) => self.expecting(statement, alert, expecting, plan),
            None if alert.key.is_empty() => Absence::only_row(plan.schema()).ok(),
            None => None,
        };
        let (Some(interval_us), Some(stream), true) = (interval_us, stream, self.errors() == before) else {
            return None;
        };
        let columns = Absence::emitted(plan.schema());
        let time_column = *self.time_columns(&stream).first()?;
        let key = key.to_vec();
        let shape = columns.and_then(|columns| {
            let absence = Absence { key, interval_us, has_clear: clear.is_some(), forget_us, expected, columns };
            absence.shape(stream, time_column, plan.clone(), clear)
        });
        match shape {
            Ok(shape) => Some(shape),
            Err(error) => {
                self.report(&error, statement, alert.query.at, codes::SHAPE_DEFECT);
                None
            }
        }
    }

    /// A length of silence in microseconds.
    fn silence(&mut self, statement: &Statement, clause: &Clause, name: &str) -> Option<i64> {
        let (message, hint) = match interval_us(&clause.expr) {
            Ok(us) if us > 0 => return Some(us),
            Ok(_) => {
                (format!("the interval of {name} must be longer than nothing"), "write it like INTERVAL '5 minutes'")
            }
            Err(error) => (format!("{name} takes a fixed interval"), error.hint()),
        };
        let diagnostic = Diagnostic::error(codes::NO_DATA_INTERVAL, statement.span(clause.at), message);
        self.found.push(diagnostic.hint(hint));
        None
    }

    fn forget(
        &mut self,
        statement: &Statement,
        alert: &CreateAlert,
        no_data: &NoData,
        interval_us: Option<i64>,
    ) -> Option<i64> {
        let clause = no_data.forget.as_ref()?;
        let span = statement.span(clause.at);
        let refused = if alert.key.is_empty() {
            Some(("without KEY there is nothing to forget", "leave FORGET AFTER out, or add KEY and its columns"))
        } else if no_data.expecting.is_some() {
            let hint = "leave FORGET AFTER out: a key is forgotten when the query of EXPECTING has it no more";
            Some(("an expected key is not forgotten", hint))
        } else {
            None
        };
        if let Some((message, hint)) = refused {
            self.found.push(Diagnostic::error(codes::FORGET_KEYS, span, message).hint(hint));
            return None;
        }
        let forget_us = self.silence(statement, clause, "FORGET AFTER")?;
        if interval_us.is_some_and(|interval_us| forget_us <= interval_us) {
            let message = "a key would be forgotten before its silence is noticed";
            let hint = "FORGET AFTER takes a longer interval than NO DATA FOR";
            self.found.push(Diagnostic::error(codes::NO_DATA_INTERVAL, span, message).hint(hint));
            return None;
        }
        Some(forget_us)
    }

    /// The stream whose rows are watched.
    fn watched_stream(&mut self, statement: &Statement, body: &Body, plan: &LogicalPlan) -> Option<String> {
        let shape = self.shape(statement, body, plan)?;
        self.alert_emit(statement, body, &shape)?;
        let span = statement.span(select_of(body));
        let QueryShape::Stateless { stream, .. } = shape else {
            let message = "NO DATA FOR watches the rows of a stream as they come";
            let hint = "read the stream itself, with WHERE and reference tables at most; or write this query into a stream \
                        that has a WATERMARK with INSERT INTO, and watch that";
            self.found.push(Diagnostic::error(codes::NO_DATA_ROWS, span, message).hint(hint));
            return None;
        };
        if self.pipeline.streams.get(&stream).is_some_and(|stream| stream.event_time.is_some()) {
            return Some(stream);
        }
        let message = format!("the stream \"{stream}\" has no watermark: nothing says how far its time has got");
        let hint = format!("add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of {stream}");
        self.found.push(Diagnostic::error(codes::NO_DATA_WATERMARK, span, message).hint(hint));
        None
    }

    /// The rows of the expected keys, with the columns of the alert's query.
    fn expecting(
        &mut self,
        statement: &Statement,
        alert: &CreateAlert,
        body: &Body,
        plan: &LogicalPlan,
    ) -> Option<LogicalPlan> {
        if alert.key.is_empty() {
            let message = "EXPECTING needs a KEY";
            let hint = "add KEY and the columns that tell the expected ones apart";
            self.found.push(Diagnostic::error(codes::EXPECTING_KEY, statement.span(body.at), message).hint(hint));
            return None;
        }
        let known = self.plan(statement, body)?;
        if !self.distinct_columns(statement, body, &known) {
            return None;
        }
        let tables = lineage::tables(&known).unwrap_or_default();
        if let Some(stream) = tables.iter().find(|table| self.pipeline.streams.contains_key(*table)) {
            let message = format!("\"{stream}\" is a stream: what is expected must be known before it is heard");
            let hint = "EXPECTING takes a query over reference tables (CREATE TABLE)";
            self.found.push(Diagnostic::error(codes::EXPECTING_STREAM, statement.span(body.at), message).hint(hint));
            return None;
        }
        if !self.has_expected_columns(statement, alert, body, &known, plan) {
            return None;
        }
        match Absence::rows_of(known, plan.schema()).and_then(|plan| self.catalog.analyze(plan)) {
            Ok(rows) => Some(rows),
            Err(error) => {
                self.report(&error, statement, body.at, codes::TYPES);
                None
            }
        }
    }

    fn has_expected_columns(
        &mut self,
        statement: &Statement,
        alert: &CreateAlert,
        body: &Body,
        known: &LogicalPlan,
        plan: &LogicalPlan,
    ) -> bool {
        let before = self.errors();
        let span = statement.span(select_of(body));
        let known = known.schema().fields();
        for ident in &alert.key {
            let name = normalized(ident);
            if !known.iter().any(|field| *field.name() == name) {
                let message = format!("the query of EXPECTING has no column \"{name}\", which is in KEY");
                let similar = suggest::hint(&name, known.iter().map(|field| field.name().as_str()));
                let hint = similar
                    .unwrap_or_else(|| format!("add it to the columns, with AS {name} where it is called otherwise"));
                self.found.push(Diagnostic::error(codes::EXPECTING_COLUMN, span.clone(), message).hint(hint));
            }
        }
        for field in plan.schema().fields() {
            let Some(known) = known.iter().find(|known| known.name() == field.name()) else { continue };
            if !fits(known.data_type(), field.data_type()) {
                let (found, expected) = (sql_name(known.data_type()), sql_name(field.data_type()));
                let name = field.name();
                let message =
                    format!("\"{name}\" is {found} in the query of EXPECTING, and {expected} in the alert's query");
                let hint = format!("CAST({name} AS {expected}) AS {name} makes it that");
                self.found.push(Diagnostic::error(codes::EXPECTING_COLUMN, span.clone(), message).hint(hint));
            }
        }
        self.errors() == before
    }
}

/// The word `SELECT` of a query.
fn select_of(body: &Body) -> At {
    body.query.body.as_select().map_or(body.at, |select| select.select_token.0.span)
}
