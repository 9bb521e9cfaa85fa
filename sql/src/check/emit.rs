//! `EMIT` and `ALLOW LATENESS`: what they ask for, and whether the query and its target can have it.

use datafusion::logical_expr::LogicalPlan;
use sqlparser::tokenizer::Span as At;

use super::Checker;
use crate::ast::{Body, Clause, EmitClause, Statement};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lex::first_word;
use crate::pipeline::{Early, Emit};
use crate::shape::QueryShape;
use crate::source::Span;
use crate::units::interval_us;

impl Checker {
    /// When a query emits, and where that is written; `None` when there are mistakes, which are reported.
    pub(super) fn emit(&mut self, statement: &Statement, body: &Body, shape: &QueryShape) -> Option<(Emit, Span)> {
        let (early, early_at) = match &body.emit.emit {
            None | Some(EmitClause::OnWindowClose) => (Early::Nothing, None),
            Some(EmitClause::OnUpdate(at)) => (Early::OnUpdate, Some(*at)),
            Some(EmitClause::Every(clause)) => {
                let us = self.emit_interval(statement, clause, "EMIT EVERY", 1)?;
                (Early::Every(std::time::Duration::from_micros(us.unsigned_abs())), Some(clause.at))
            }
        };
        let lateness_us = match &body.emit.lateness {
            None => 0,
            Some(clause) => self.emit_interval(statement, clause, "ALLOW LATENESS", 0)?,
        };
        let at = early_at.or(body.emit.lateness.as_ref().map(|clause| clause.at));
        let span = statement.span(at.unwrap_or(statement.at));
        let emit = Emit { early, lateness_us };
        let Some(at) = at else { return Some((emit, span)) };
        let QueryShape::Windowed(shape) = shape else {
            let message = "only the results of TUMBLE, HOP and CUMULATE are emitted early or corrected";
            let hint = match shape {
                QueryShape::Stateless { .. } => "leave the clause out: every row is emitted at once",
                _ => "leave the clause out: results are emitted once, when they are complete",
            };
            self.found.push(Diagnostic::error(codes::EMIT_NO_WINDOW, statement.span(at), message).hint(hint));
            return None;
        };
        if early_at.is_some() && !self.watermark_key_of(&shape.stream).is_empty() && emit.early != Early::Nothing {
            let message = format!(
                "the stream \"{}\" has a watermark per key: its windows are not emitted early yet",
                shape.stream
            );
            let hint = "leave EMIT out: each key's windows are emitted when its own watermark closes them";
            self.found.push(Diagnostic::error(codes::KEY_EARLY, statement.span(at), message).hint(hint));
            return None;
        }
        if emit.has_updates() && !self.runs_row_by_row(statement, body, &shape.output) {
            return None;
        }
        Some((emit, span))
    }

    /// Reports a clause that a view would leave without effect: it is inlined.
    pub(super) fn no_emit_in_view(&mut self, statement: &Statement, body: &Body) {
        let early_at = match &body.emit.emit {
            Some(EmitClause::OnUpdate(at)) => Some(*at),
            Some(EmitClause::Every(clause)) => Some(clause.at),
            None | Some(EmitClause::OnWindowClose) => None,
        };
        if let Some(at) = early_at.or(body.emit.lateness.as_ref().map(|clause| clause.at)) {
            let message = "a view emits nothing by itself";
            let hint = "write the clause behind the query that reads the view";
            self.found.push(Diagnostic::error(codes::EMIT_NO_WINDOW, statement.span(at), message).hint(hint));
        }
    }

    /// The same of an alert's query.
    pub(super) fn alert_emit(&mut self, statement: &Statement, body: &Body, shape: &QueryShape) -> Option<Emit> {
        let (emit, span) = self.emit(statement, body, shape)?;
        if emit.early == Early::Nothing {
            return Some(emit);
        }
        let message = "an alert takes a window when it is closed: early results come and go with the order of arrival";
        let hint = "leave EMIT out; smaller windows raise earlier";
        self.found.push(Diagnostic::error(codes::EMIT_APPEND_ONLY, span, message).hint(hint));
        None
    }

    /// Reports a target that takes no updates.
    pub(super) fn no_updates(&mut self, span: Span, why: &str) {
        let message = format!("{why}: results that are emitted early or corrected cannot go there");
        let hint = "send them to a sink that takes updates, such as influxdb";
        self.found.push(Diagnostic::error(codes::EMIT_APPEND_ONLY, span, message).hint(hint));
    }

    fn emit_interval(&mut self, statement: &Statement, clause: &Clause, name: &str, least_us: i64) -> Option<i64> {
        let (message, hint) = match interval_us(&clause.expr) {
            Ok(us) if us >= least_us => return Some(us),
            Ok(_) if least_us > 0 => (format!("the interval of {name} must be longer than nothing"), None),
            Ok(_) => (format!("the interval of {name} cannot be negative"), None),
            Err(error) => (format!("{name} takes a fixed interval"), Some(error.hint().to_owned())),
        };
        let diagnostic = Diagnostic::error(codes::EMIT_INTERVAL, statement.span(clause.at), message);
        self.found.push(diagnostic.hint_opt(hint));
        None
    }

    /// Whether what runs above the aggregate leaves every group its row.
    pub(super) fn runs_row_by_row(&mut self, statement: &Statement, body: &Body, output: &LogicalPlan) -> bool {
        let Some(words) = not_row_by_row(output) else { return true };
        let at = first_word(&statement.tokens, body.at, words).unwrap_or(At::empty());
        let at = if at == At::empty() { body.at } else { at };
        let message = "a row that was emitted cannot be taken back when it changes";
        let hint =
            "with early or corrected results, leave HAVING, ORDER BY, LIMIT, DISTINCT and further aggregates out";
        self.found.push(Diagnostic::error(codes::EMIT_FILTERED, statement.span(at), message).hint(hint));
        false
    }
}

/// The words of what makes a row depend on other rows, or on what it was before.
fn not_row_by_row(plan: &LogicalPlan) -> Option<&'static [&'static str]> {
    let words: &[&str] = match plan {
        LogicalPlan::Extension(_) => return None,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => {
            return plan.inputs().into_iter().find_map(not_row_by_row);
        }
        LogicalPlan::Filter(_) => &["HAVING", "QUALIFY", "WHERE"],
        LogicalPlan::Sort(_) => &["ORDER"],
        LogicalPlan::Limit(_) => &["LIMIT", "OFFSET", "FETCH"],
        LogicalPlan::Distinct(_) => &["DISTINCT"],
        LogicalPlan::Window(_) => &["OVER"],
        LogicalPlan::Join(_) => &["JOIN"],
        _ => &["GROUP"],
    };
    Some(words)
}
