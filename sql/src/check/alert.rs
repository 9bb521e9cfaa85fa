//! `CREATE ALERT`: its expressions look at one row of its query's output.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::{PlannerContext, SqlToRel};

use sqlparser::ast::Expr;

use super::query::names;
use super::{Checker, NameKind};
use crate::ast::{Clause, CreateAlert, Kind, Raise, Statement};
use crate::blame;
use crate::catalog::Catalog;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::inspect::inspect;
use crate::lineage::{self, Origin};
use crate::nodes::{WINDOW_COLUMNS, timestamp_type};
use crate::parse::normalized;
use crate::pipeline::{AlertConditions, AlertDef, AlertRule, Emit};
use crate::plan_error;
use crate::shape::QueryShape;
use crate::shape::undetermined;
use crate::suggest;
use crate::types::{is_text, sql_name};
use crate::units;

impl Checker {
    pub(super) fn alerts(&mut self, statements: &[Statement]) {
        for statement in statements {
            if let Kind::Alert(alert) = &statement.kind
                && !self.is_repeated(statement)
            {
                self.alert(statement, alert);
            }
        }
    }

    fn alert(&mut self, statement: &Statement, alert: &CreateAlert) {
        let before = self.errors();
        self.alert_sink(statement, alert);
        if let Raise::When { hold: Some(hold), .. } = &alert.raise {
            self.hold(statement, hold);
        }
        let Some(plan) = self.plan(statement, &alert.query) else { return };
        if !self.distinct_columns(statement, &alert.query, &plan) {
            return;
        }
        let name = format!("alert.{}", normalized(&alert.name));
        let Some(plan) = self.nested(statement, &alert.query, &name, plan) else { return };
        let key = self.alert_key(statement, alert, &plan);
        let raised = match &alert.raise {
            Raise::When { condition, hold } => {
                let time = self.alert_time(statement, alert, &plan);
                let raise = self.condition(statement, condition, &plan);
                let hold_us = hold.as_ref().and_then(|hold| units::interval_us(&hold.expr).ok()).unwrap_or(0);
                time.zip(raise).map(|(time, raise)| (time, raise, hold_us))
            }
            Raise::NoData(_) => None,
        };
        let clear = alert.clear.as_ref().and_then(|clause| self.condition(statement, clause, &plan));
        let severity = alert.severity.as_ref().and_then(|clause| self.text(statement, clause, &plan));
        let summary = alert.summary.as_ref().and_then(|clause| self.text(statement, clause, &plan));
        let (shape, emit, rule) = match &alert.raise {
            Raise::When { .. } => {
                let shape = self.shape(statement, &alert.query, &plan);
                if let Some(shape) = &shape {
                    self.alert_has_the_watermark_key(statement, alert, shape, &plan, &key);
                }
                let shape = shape.filter(|_| self.reads_no_updates(statement, &alert.query, &plan));
                let emit = shape.as_ref().and_then(|shape| self.alert_emit(statement, &alert.query, shape));
                let (Some(shape), Some(emit), Some((time, raise, hold_us))) = (shape, emit, raised) else { return };
                (shape, emit, AlertRule::When(Box::new(AlertConditions { time, raise, hold_us, clear })))
            }
            Raise::NoData(no_data) => {
                let shape = self.absence(statement, alert, no_data, &plan, &key, clear);
                let Some(shape) = shape else { return };
                (QueryShape::Ordered(Box::new(shape)), Emit::default(), AlertRule::NoData)
            }
        };
        if self.errors() > before {
            return;
        }
        let name = normalized(&alert.name);
        let definition = AlertDef {
            name: name.clone(),
            sink: normalized(&alert.sink),
            plan,
            shape,
            emit,
            key,
            rule,
            severity,
            summary,
            span: statement.span(alert.name.span),
            sql: statement.sql.clone(),
        };
        self.pipeline.alerts.insert(name, definition);
    }

    fn alert_sink(&mut self, statement: &Statement, alert: &CreateAlert) {
        let name = normalized(&alert.sink);
        let span = statement.span(alert.sink.span);
        match self.names.get(&name) {
            Some(NameKind::Sink) => {}
            Some(kind) => {
                let message = format!("\"{name}\" is {}: an alert goes to a sink", kind.word());
                self.found.push(Diagnostic::error(codes::WRONG_TARGET, span, message));
            }
            None if self.broken.contains(&name) => {}
            None => {
                let hint = suggest::hint(&name, self.names_of(&[NameKind::Sink]));
                let message = format!("no sink \"{name}\"");
                self.found.push(Diagnostic::error(codes::NO_TARGET, span, message).hint_opt(hint));
            }
        }
    }

    fn hold(&mut self, statement: &Statement, hold: &Clause) {
        let (message, hint) = match units::interval_us(&hold.expr) {
            Ok(us) if us >= 0 => return,
            Ok(_) => ("FOR cannot be negative", "write it like INTERVAL '30 seconds'"),
            Err(error) => ("FOR takes a fixed interval", error.hint()),
        };
        self.found.push(Diagnostic::error(codes::ALERT_HOLD, statement.span(hold.at), message).hint(hint));
    }

    fn alert_key(&mut self, statement: &Statement, alert: &CreateAlert, plan: &LogicalPlan) -> Vec<usize> {
        let mut key = Vec::new();
        for (ident, name) in alert.key.iter().zip(names(&alert.key)) {
            let fields = plan.schema().fields();
            match fields.iter().position(|field| *field.name() == name) {
                Some(index) if key.contains(&index) => {
                    let message = format!("the column \"{name}\" is named twice");
                    self.found.push(Diagnostic::error(codes::DUPLICATE_COLUMN, statement.span(ident.span), message));
                }
                Some(index) => key.push(index),
                None => {
                    let hint = suggest::hint(&name, fields.iter().map(|field| field.name().as_str()));
                    let message = format!("no column \"{}\" in the alert's query", ident.value);
                    let span = statement.span(ident.span);
                    self.found.push(Diagnostic::error(codes::ALERT_KEY, span, message).hint_opt(hint));
                }
            }
        }
        key
    }

    /// The output column that is the time of the rows.
    fn alert_time(&mut self, statement: &Statement, alert: &CreateAlert, plan: &LogicalPlan) -> Option<usize> {
        let fields = plan.schema().fields();
        let window_end = WINDOW_COLUMNS[1];
        let is_window_end = |index: &usize| lineage::origin(plan, *index) == Origin::Window(window_end.to_owned());
        let named_so =
            |index: &usize| fields[*index].name() == window_end && *fields[*index].data_type() == timestamp_type();
        let is_event_time = |index: &usize| match lineage::origin(plan, *index) {
            Origin::Table { table, column } => self.time_columns(&table).contains(&column),
            _ => false,
        };
        let all = 0..fields.len();
        let found = all.clone().find(named_so).or_else(|| all.clone().find(is_window_end));
        if let Some(index) = found.or_else(|| all.clone().find(is_event_time)) {
            return Some(index);
        }
        let mut windowed = false;
        // The visitor never fails.
        let _ = lineage::for_each_window(plan, |_| windowed = true);
        let hint = if windowed {
            "add window_end to the columns of the query"
        } else {
            "add the stream's event time, the column of its WATERMARK FOR, to the columns of the query"
        };
        let message = format!("the query of the alert \"{}\" has no time column", alert.name.value);
        let at = alert.query.query.body.as_select().map_or(alert.query.at, |select| select.select_token.0.span);
        self.found.push(Diagnostic::error(codes::ALERT_TIME, statement.span(at), message).hint(hint));
        None
    }

    fn condition(&mut self, statement: &Statement, clause: &Clause, plan: &LogicalPlan) -> Option<PlanExpr> {
        let (expr, data_type) = self.expression(statement, clause, plan)?;
        if data_type == DataType::Boolean {
            return Some(expr);
        }
        let message = format!("expected a condition, found an expression of type {}", sql_name(&data_type));
        let span = statement.span(clause.at);
        self.found.push(Diagnostic::error(codes::NOT_BOOLEAN, span, message).hint("compare it with something"));
        None
    }

    fn text(&mut self, statement: &Statement, clause: &Clause, plan: &LogicalPlan) -> Option<PlanExpr> {
        let (expr, data_type) = self.expression(statement, clause, plan)?;
        if is_text(&data_type) {
            return Some(expr);
        }
        let message = format!("expected text, found an expression of type {}", sql_name(&data_type));
        let span = statement.span(clause.at);
        self.found.push(Diagnostic::error(codes::NOT_TEXT, span, message).hint("CAST(… AS TEXT) makes text of it"));
        None
    }

    /// An expression over the query's output, after type coercion, and its type.
    fn expression(
        &mut self,
        statement: &Statement,
        clause: &Clause,
        plan: &LogicalPlan,
    ) -> Option<(PlanExpr, DataType)> {
        let findings = inspect(&clause.expr, &self.catalog).findings;
        if !findings.is_empty() {
            let place = statement.place(clause.at, codes::PLAN);
            self.found.extend(findings.into_iter().map(|finding| finding.diagnostic(&place)));
            return None;
        }
        let schema = Arc::clone(plan.schema());
        let planned = SqlToRel::new(&self.catalog)
            .sql_to_expr(clause.expr.clone(), &schema, &mut PlannerContext::new())
            .map_err(|error| (error, codes::PLAN));
        let projected =
            planned.as_ref().ok().map(|expr| LogicalPlanBuilder::from(plan.clone()).project([expr.clone()]));
        if let Some(Ok(projected)) = projected
            && let Ok(projected) = projected.build()
            && !self.conversions_are_asked_for(statement, clause.at, &projected)
        {
            return None;
        }
        let planned = planned.and_then(|expr| {
            if !looks_at_one_row(&expr) {
                return Ok(None);
            }
            coerced(&self.catalog, plan, expr).map(Some).map_err(|error| (error, codes::TYPES))
        });
        match planned {
            Ok(Some(expr)) => {
                if let Some(function) = undetermined(&expr) {
                    let message =
                        format!("{function}() is not determined by the row: after a restart it would be another");
                    let hint = "take the time of the row, such as window_end";
                    let span = statement.span(clause.at);
                    self.found.push(Diagnostic::error(codes::UNDETERMINED, span, message).hint(hint));
                    return None;
                }
                let data_type = expr.get_type(&schema).unwrap_or(DataType::Null);
                Some((expr, data_type))
            }
            Ok(None) => {
                let message = "an alert looks at one row of its query at a time";
                let hint = "aggregates, window functions and subqueries belong into the query";
                let span = statement.span(clause.at);
                self.found.push(Diagnostic::error(codes::ALERT_EXPRESSION, span, message).hint(hint));
                None
            }
            Err((error, code)) => {
                let probe = |expr: &Expr| {
                    let expr =
                        SqlToRel::new(&self.catalog).sql_to_expr(expr.clone(), &schema, &mut PlannerContext::new())?;
                    coerced(&self.catalog, plan, expr)?.get_type(&schema)
                };
                let place = statement.place(clause.at, code);
                let mut blamed = blame::of_expression(&clause.expr, &probe, &place);
                if blamed.is_empty() {
                    blamed = plan_error::diagnostics(&error, &place);
                }
                self.found.extend(blamed);
                None
            }
        }
    }
}

/// The expression over the plan's output, after type coercion.
fn coerced(catalog: &Catalog, plan: &LogicalPlan, expr: PlanExpr) -> Result<PlanExpr, DataFusionError> {
    let plan = LogicalPlanBuilder::from(plan.clone()).project([expr.clone()])?.build()?;
    let plan = catalog.analyze(plan)?;
    Ok(plan.expressions().into_iter().next().map_or(expr, PlanExpr::unalias))
}

fn looks_at_one_row(expr: &PlanExpr) -> bool {
    let mut plain = true;
    // The visitor never fails.
    let _ = expr.apply(|inner| {
        plain &= !matches!(
            inner,
            PlanExpr::AggregateFunction(_)
                | PlanExpr::WindowFunction(_)
                | PlanExpr::ScalarSubquery(_)
                | PlanExpr::InSubquery(_)
                | PlanExpr::Exists(_)
                | PlanExpr::OuterReferenceColumn(..)
        );
        Ok(TreeNodeRecursion::Continue)
    });
    plain
}
