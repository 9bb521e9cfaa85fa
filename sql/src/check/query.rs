//! Queries: views, `INSERT INTO … SELECT`, and the query of a sink.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DataFusionError, TableReference};
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::planner::SqlToRel;
use sqlparser::ast::{Expr, Ident, Spanned, Statement as SqlStatement, visit_expressions};
use sqlparser::tokenizer::Span as At;

use super::{Checker, NameKind, union};
use crate::ast::{Body, Insert, Kind, Statement};
use crate::blame;
use crate::catalog::InlinedView;
use crate::codes::{self, Code};
use crate::diagnostic::Diagnostic;
use crate::inspect::{Inspection, inspect, simple_name};
use crate::lex::{first_word, is_word};
use crate::lineage::{self, Origin};
use crate::nodes::WindowNode;
use crate::parse::normalized;
use crate::pipeline::{QueryDef, Target, ViewDef};
use crate::plan_error::{self, parser_span};
use crate::relation::WINDOWS;
use crate::shape::QueryShape;
use crate::source::{SourceFile, slice};
use crate::strict;
use crate::suggest;
use crate::types::{fits, sql_name};

impl Checker {
    pub(super) fn view(&mut self, statement: &Statement, files: &[SourceFile]) {
        let Kind::View(view) = &statement.kind else { return };
        let name = normalized(&view.name);
        self.no_emit_in_view(statement, &view.query);
        let plan = self.plan(statement, &view.query).filter(|plan| self.distinct_columns(statement, &view.query, plan));
        let Some(plan) = plan else {
            self.broken.insert(name);
            return;
        };
        let text = files.iter().find(|file| file.path == *statement.file).map_or("", |file| file.text.as_str());
        let sql = slice(text, view.query.at).to_owned();
        self.catalog.insert(TableReference::bare(name.clone()), Arc::new(InlinedView::new(plan.clone())));
        let span = statement.span(view.name.span);
        self.pipeline.views.insert(name.clone(), ViewDef { name, sql, plan, span });
    }

    /// All `INSERT INTO` and `CREATE SINK … AS`.
    pub(super) fn queries(&mut self, statements: &[Statement]) {
        let mut writes = Vec::new();
        for statement in statements {
            match &statement.kind {
                Kind::Insert(insert) => {
                    let target = self.target(statement, insert);
                    let Some(plan) = self.plan(statement, &insert.query) else { continue };
                    match target {
                        Some(Target::Stream(stream)) => {
                            writes.push((lineage::tables(&plan).unwrap_or_default(), stream.clone(), statement));
                            if let Some(plan) = self.fit_stream(statement, insert, &stream, plan) {
                                self.query(statement, &insert.query, Target::Stream(stream), plan);
                            }
                        }
                        Some(target) => {
                            self.no_column_list(statement, insert);
                            self.query(statement, &insert.query, target, plan);
                        }
                        None => {
                            if let Some(plan) = self.nested(statement, &insert.query, "", plan) {
                                self.shape(statement, &insert.query, &plan);
                            }
                        }
                    }
                }
                Kind::Sink(sink) if !self.is_repeated(statement) => {
                    let Some(query) = &sink.query else { continue };
                    if let Some(plan) = self.plan(statement, query) {
                        self.query(statement, query, Target::Sink(normalized(&sink.name)), plan);
                    }
                }
                _ => {}
            }
        }
        self.report_stream_circles(&writes);
    }

    fn no_column_list(&mut self, statement: &Statement, insert: &Insert) {
        if let Some(column) = insert.columns.first() {
            let message = "a sink has no columns of its own";
            let hint = "name the columns in the query, with AS";
            let span = statement.span(column.span);
            self.found.push(Diagnostic::error(codes::INSERT_COUNT, span, message).hint(hint));
        }
    }

    fn target(&mut self, statement: &Statement, insert: &Insert) -> Option<Target> {
        let name = normalized(&insert.target);
        let span = statement.span(insert.target.span);
        match self.names.get(&name) {
            Some(NameKind::Stream) => Some(Target::Stream(name)),
            Some(NameKind::Sink) => Some(Target::Sink(name)),
            Some(kind) => {
                let message = format!("\"{name}\" is {}: rows cannot be written to it", kind.word());
                let hint = "INSERT INTO takes a stream or a sink";
                self.found.push(Diagnostic::error(codes::WRONG_TARGET, span, message).hint(hint));
                None
            }
            None => {
                if !self.broken.contains(&name) {
                    let message = format!("no stream or sink \"{name}\"");
                    let hint = suggest::hint(&name, self.names_of(&[NameKind::Stream, NameKind::Sink]));
                    self.found.push(Diagnostic::error(codes::NO_TARGET, span, message).hint_opt(hint));
                }
                None
            }
        }
    }

    pub(super) fn query(&mut self, statement: &Statement, body: &Body, target: Target, plan: LogicalPlan) {
        if !self.distinct_columns(statement, body, &plan) {
            return;
        }
        let mut branches = match union::branches(&plan) {
            Ok(branches) => branches,
            Err(error) => return self.report(&error, statement, body.at, codes::PLAN),
        };
        let is_stream = |table: &String| self.is_stream(table);
        if !branches.iter().all(|branch| lineage::tables(branch).unwrap_or_default().iter().any(is_stream)) {
            branches = vec![plan];
        }
        let (Target::Stream(into) | Target::Sink(into) | Target::View(into)) = &target;
        let before = self.pipeline.queries.iter().filter(|query| query.target == target).count();
        let mut shapes = Vec::new();
        for (n, plan) in branches.into_iter().enumerate() {
            let name = match before + n {
                0 => into.clone(),
                n => format!("{into}.{}", n + 1),
            };
            let Some(plan) = self.nested(statement, body, &name, plan) else { return };
            let Some(shape) = self.shape(statement, body, &plan) else { return };
            let Some((emit, emit_span)) = self.emit(statement, body, &shape) else { return };
            let Some((emit, emit_span)) =
                self.emit_of_views(statement, body, &target, &plan, &shape, (emit, emit_span))
            else {
                return;
            };
            if matches!(target, Target::Stream(_)) && emit.has_updates() {
                self.no_updates(emit_span, "a stream keeps every row that was written to it");
                return;
            }
            shapes.push((name, plan, shape, emit, emit_span));
        }
        if self.broken.contains(into) {
            return;
        }
        for (name, plan, shape, emit, emit_span) in shapes {
            let span = statement.span(statement.at);
            let (target, sql) = (target.clone(), statement.sql.clone());
            self.pipeline.queries.push(QueryDef { name, target, plan, shape, emit, emit_span, span, sql });
        }
    }

    /// The shape of a continuous query, its mistakes reported.
    pub(super) fn shape(&mut self, statement: &Statement, body: &Body, plan: &LogicalPlan) -> Option<QueryShape> {
        match self.shape_of(plan).and_then(|shape| self.keyed_by_the_watermark(shape, plan)) {
            Ok(shape) => Some(shape),
            Err(error) => {
                let code = codes::by_id(error.code, codes::SHAPE_DEFECT);
                let at = words_at_fault(code, statement, body);
                self.found.push(Diagnostic::error(code, statement.span(at), error.message).hint(error.hint));
                None
            }
        }
    }

    /// Reports columns of the same name in a query's output.
    pub(super) fn distinct_columns(&mut self, statement: &Statement, body: &Body, plan: &LogicalPlan) -> bool {
        let mut names = HashSet::new();
        let twice: Vec<&String> =
            plan.schema().fields().iter().map(|f| f.name()).filter(|n| !names.insert(*n)).collect();
        for name in &twice {
            let message = format!("two columns of the query are called \"{name}\"");
            let at = body.query.body.as_select().map_or(body.at, |select| select.select_token.0.span);
            let hint = "give one of them another name with AS, or list the columns instead of *";
            self.found.push(Diagnostic::error(codes::DUPLICATE_COLUMN, statement.span(at), message).hint(hint));
        }
        twice.is_empty()
    }

    /// The plan of a query after type coercion; `None` when there are mistakes, which are reported.
    pub(super) fn plan(&mut self, statement: &Statement, body: &Body) -> Option<LogicalPlan> {
        let Inspection { relations, findings, .. } = inspect(&body.query, &self.catalog);
        let mut ready = findings.is_empty();
        let place = statement.place(body.at, codes::PLAN);
        self.found.extend(findings.into_iter().map(|finding| finding.diagnostic(&place)));
        for relation in relations {
            ready &= self.relation(statement, &relation);
        }
        if !ready {
            return None;
        }
        let planner = SqlToRel::new(&self.catalog);
        let plan = planner.sql_statement_to_plan(SqlStatement::Query(body.query.clone()));
        let warnings = planner.take_warnings();
        for warning in warnings {
            let at = warning.span.map_or(body.at, parser_span);
            let message = "a comparison with NULL is never true";
            let diagnostic = Diagnostic::warning(codes::NULL_COMPARISON, statement.span(at), message);
            self.found.push(diagnostic.hint("write IS NULL or IS NOT NULL"));
        }
        if let Ok(plan) = &plan
            && !self.conversions_are_asked_for(statement, body.at, plan)
        {
            return None;
        }
        let plan = plan
            .map_err(|error| (error, codes::PLAN))
            .and_then(|plan| self.catalog.analyze(plan).map_err(|error| (error, codes::TYPES)));
        match plan {
            Ok(plan) => self.windows_are_sound(statement, body, &plan).then_some(plan),
            Err((error, code)) => {
                let place = statement.place(body.at, code);
                let mut blamed = blame::of_query(&body.query, &self.catalog, &place);
                if blamed.is_empty() {
                    blamed = plan_error::diagnostics(&error, &place);
                }
                self.found.extend(blamed);
                None
            }
        }
    }

    /// Reports what would be converted without a `CAST`.
    pub(super) fn conversions_are_asked_for(&mut self, statement: &Statement, at: At, plan: &LogicalPlan) -> bool {
        let conversions = strict::conversions(plan);
        let sound = conversions.is_empty();
        for conversion in conversions {
            let span = statement.span(conversion.at.map_or(at, parser_span));
            let diagnostic = Diagnostic::error(codes::TYPES, span, conversion.message);
            self.found.push(diagnostic.hint_opt(conversion.hint.map(str::to_owned)));
        }
        sound
    }

    pub(super) fn report(&mut self, error: &DataFusionError, statement: &Statement, at: At, code: Code) {
        self.found.extend(plan_error::diagnostics(error, &statement.place(at, code)));
    }

    /// Whether a relation exists and is sound; an unknown name is reported.
    fn relation(&mut self, statement: &Statement, relation: &sqlparser::ast::ObjectName) -> bool {
        let span = statement.span(relation.span());
        let name = simple_name(relation);
        if let Some(name) = &name {
            if self.broken.contains(name) {
                return false;
            }
            match self.names.get(name) {
                Some(NameKind::Sink | NameKind::Alert) => {
                    let word = self.names[name].word();
                    let message = format!("\"{name}\" is {word}: it cannot be read from");
                    let hint = "read the stream or view that feeds it";
                    self.found.push(Diagnostic::error(codes::SINK_AS_TABLE, span, message).hint(hint));
                    return false;
                }
                Some(_) => return true,
                None => {}
            }
        }
        let shown = name.unwrap_or_else(|| relation.to_string());
        let kept = ["late.", "rejected."].iter().any(|schema| shown.starts_with(schema));
        let hint = if kept {
            Some("late and rejected rows can be queried ad hoc, not continuously".to_owned())
        } else {
            suggest::hint(&shown, self.readable())
        };
        let message = format!("no stream, table or view \"{shown}\"");
        self.found.push(Diagnostic::error(codes::NO_TABLE, span, message).hint_opt(hint));
        false
    }

    /// Whether every window goes by the event time of its stream.
    fn windows_are_sound(&mut self, statement: &Statement, body: &Body, plan: &LogicalPlan) -> bool {
        let mut wrong = Vec::new();
        // The visitor never fails.
        let _ = lineage::for_each_window(plan, |window| wrong.extend(self.window_mistake(window)));
        let sound = wrong.is_empty();
        for (code, window, message, hint) in wrong {
            let at = window.spans().first().map_or(body.at, parser_span);
            self.found.push(Diagnostic::error(code, statement.span(at), message).hint(hint));
        }
        sound
    }

    fn window_mistake(&self, window: &WindowNode) -> Option<(Code, Column, String, String)> {
        let time = window.time.clone();
        let tables = lineage::tables(&window.input).unwrap_or_default();
        if let Some(found) = self.window_over_view(window, &tables) {
            return found;
        }
        let stream = tables.iter().find_map(|table| self.pipeline.streams.get(table));
        let Some(stream) = stream else {
            let message = "a window goes over a stream, and there is none here".to_owned();
            return Some((codes::WINDOW_TIME, time, message, "a reference table has no event time".to_owned()));
        };
        let Some(event_time) = &stream.event_time else {
            let message = format!("the stream \"{}\" has no watermark: this window would never close", stream.name);
            let hint = format!(
                "add WATERMARK FOR {0} AS {0} - INTERVAL '2 seconds' to the columns of {1}",
                time.name, stream.name
            );
            return Some((codes::NO_WATERMARK, time, message, hint));
        };
        let index = window.input.schema().maybe_index_of_column(&time)?;
        let expected = Origin::Table { table: stream.name.clone(), column: event_time.column };
        if lineage::origin(&window.input, index) == expected {
            return None;
        }
        let name = stream.schema.field(event_time.column).name();
        let message = format!("\"{}\" is not the event time of the stream \"{}\"", time.name, stream.name);
        let hint = format!("a window goes by the column of WATERMARK FOR, which is \"{name}\", unchanged");
        Some((codes::WINDOW_TIME, time, message, hint))
    }

    /// The plan with its columns named and typed as the stream's; `None` when they do not fit, which is reported.
    fn fit_stream(
        &mut self,
        statement: &Statement,
        insert: &Insert,
        stream: &str,
        plan: LogicalPlan,
    ) -> Option<LogicalPlan> {
        let target = Arc::clone(&self.pipeline.streams.get(stream)?.schema);
        if self.broken.contains(stream) {
            return None;
        }
        let names = self.inserted_columns(statement, insert, &target)?;
        let columns = plan.schema().columns();
        if columns.len() != names.len() {
            let message = format!("the query has {} columns, \"{stream}\" takes {}", columns.len(), names.len());
            let hint = format!("they are taken by position: {}", names.join(", "));
            let at = select_list(&insert.query);
            self.found.push(Diagnostic::error(codes::INSERT_COUNT, statement.span(at), message).hint(hint));
            return None;
        }
        let mut exprs = Vec::new();
        let before = self.errors();
        for field in target.fields() {
            let Some(position) = names.iter().position(|name| name == field.name()) else {
                if !field.is_nullable() {
                    let message = format!("the query has no column for \"{}\", which may not be NULL", field.name());
                    let span = statement.span(insert.target.span);
                    self.found.push(Diagnostic::error(codes::INSERT_NULL, span, message));
                }
                let null = ScalarValue::try_from(field.data_type()).map_or_else(|_| lit(ScalarValue::Null), lit);
                exprs.push(null.alias(field.name()));
                continue;
            };
            let found = plan.schema().field(position);
            let at = select_item(&insert.query, position);
            let shown = select_text(&insert.query, position).unwrap_or_else(|| found.name().clone());
            let fits = fits(found.data_type(), field.data_type()) || literal_fits(&plan, position, field.data_type());
            if !fits {
                let (from, to) = (sql_name(found.data_type()), sql_name(field.data_type()));
                let message =
                    format!("\"{}\" is of type {from}, the column \"{}\" of \"{stream}\" is {to}", shown, field.name());
                let hint = format!("CAST({} AS {to}) converts it", shown);
                self.found.push(Diagnostic::error(codes::INSERT_TYPE, statement.span(at), message).hint(hint));
            } else if found.is_nullable() && !field.is_nullable() {
                let message =
                    format!("\"{}\" may be NULL, the column \"{}\" of \"{stream}\" may not", shown, field.name());
                let hint = "COALESCE gives a value instead of NULL; or declare the column without NOT NULL";
                self.found.push(Diagnostic::error(codes::INSERT_NULL, statement.span(at), message).hint(hint));
            }
            let column = PlanExpr::Column(columns[position].clone());
            let same = found.data_type() == field.data_type();
            let expr = if same { column } else { cast(column, field.data_type().clone()) };
            exprs.push(expr.alias(field.name()));
        }
        if self.errors() > before {
            return None;
        }
        match LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build) {
            Ok(plan) => Some(plan),
            Err(error) => {
                self.report(&error, statement, insert.query.at, codes::PLAN);
                None
            }
        }
    }

    fn inserted_columns(
        &mut self,
        statement: &Statement,
        insert: &Insert,
        target: &arrow::datatypes::SchemaRef,
    ) -> Option<Vec<String>> {
        let all = || target.fields().iter().map(|field| field.name().clone());
        if insert.columns.is_empty() {
            return Some(all().collect());
        }
        let before = self.errors();
        let names: Vec<String> = insert.columns.iter().map(normalized).collect();
        for (n, ident) in insert.columns.iter().enumerate() {
            let span = statement.span(ident.span);
            if target.field_with_name(&names[n]).is_err() {
                let known: Vec<String> = all().collect();
                let hint = suggest::hint(&names[n], known.iter().map(String::as_str));
                let message = format!("no column \"{}\" in {}", ident.value, insert.target.value);
                self.found.push(Diagnostic::error(codes::NO_COLUMN, span, message).hint_opt(hint));
            } else if names[..n].contains(&names[n]) {
                let message = format!("the column \"{}\" is named twice", ident.value);
                self.found.push(Diagnostic::error(codes::DUPLICATE_COLUMN, span, message));
            }
        }
        (self.errors() == before).then_some(names)
    }
}

/// The words that a finding about the whole query points at.
pub(super) fn words_at_fault(code: Code, statement: &Statement, body: &Body) -> At {
    let select = body.query.body.as_select();
    let word = |words: &[&str]| first_word(&statement.tokens, body.at, words);
    let at = match code.id {
        id if id == codes::SHAPE_SORT.id => word(&["ORDER"]),
        id if id == codes::SHAPE_LIMIT.id => word(&["LIMIT", "OFFSET", "FETCH"]),
        id if id == codes::SHAPE_DISTINCT.id => word(&["DISTINCT"]),
        id if codes::OVER.iter().any(|code| code.id == id) => {
            word(&["OVER", "QUALIFY"]).or_else(|| word(&["DISTINCT"]))
        }
        id if id == codes::SHAPE_UNION.id => word(&["UNION", "EXCEPT", "INTERSECT"]),
        id if id == codes::SHAPE_OTHER.id => word(&["RECURSIVE", "ORDER"]),
        id if id == codes::SHAPE_SUBQUERY.id => first_subquery(body),
        id if id == codes::UNDETERMINED.id => word(&UNDETERMINED_WORDS),
        id if id == codes::WINDOWS_MIXED.id => word(&["GROUP"]),
        id if id == codes::SHAPE_OUTER.id => word(&["LEFT", "RIGHT", "FULL"]),
        id if id == codes::SHAPE_GROUPING.id => word(&["ROLLUP", "CUBE", "GROUPING"]),
        id if id == codes::KEY_MISSING.id => {
            word(&["GROUP"]).or_else(|| word(&["PARTITION"])).or_else(|| word(&["DISTINCT", "OVER"]))
        }
        id if id == codes::KEY_ROW_BY_ROW.id => {
            word(&["OVER", "LIMIT", "FETCH", "DISTINCT"]).or_else(|| word(&["ORDER"]))
        }
        id if id == codes::SHAPE_NESTED.id => first_window(statement, body, 1),
        id if [codes::SHAPE_NO_STREAM, codes::SHAPE_STREAMS, codes::JOIN_FORM].iter().any(|code| code.id == id)
            || [codes::JOIN_UNBOUNDED, codes::JOIN_WATERMARK, codes::KEY_JOIN].iter().any(|code| code.id == id) =>
        {
            select.map(|select| At::union_iter(select.from.iter().map(Spanned::span)))
        }
        _ => None,
    };
    at.filter(|at| *at != At::empty())
        .or_else(|| select.map(|_| select_list(body)))
        .filter(|at| *at != At::empty())
        .unwrap_or(body.at)
}

/// What asks a clock or chance.
const UNDETERMINED_WORDS: [&str; 8] =
    ["NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE", "TODAY", "CURRENT_TIME", "RANDOM", "UUID", "INPUT_FILE_NAME"];

/// The first query that stands in an expression.
fn first_subquery(body: &Body) -> Option<At> {
    let found = visit_expressions(&body.query, |expr| match expr {
        Expr::InSubquery { subquery, .. } | Expr::Exists { subquery, .. } => ControlFlow::Break(subquery.span()),
        Expr::Subquery(subquery) => ControlFlow::Break(subquery.span()),
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => ControlFlow::Break(right.span()),
        _ => ControlFlow::Continue(()),
    });
    found.break_value()
}

/// The name of the `n`th window function of a query.
fn first_window(statement: &Statement, body: &Body, n: usize) -> Option<At> {
    let tokens = statement.tokens.iter().filter(|token| token.span.start >= body.at.start);
    tokens.filter(|token| WINDOWS.iter().any(|window| is_word(token, window))).nth(n).map(|token| token.span)
}

/// From the first to the last column of a query.
fn select_list(body: &Body) -> At {
    match body.query.body.as_select() {
        Some(select) => At::union_iter(select.projection.iter().map(Spanned::span)),
        None => body.at,
    }
}

/// The `n`th column of a query, as long as no `*` stands among them.
fn select_item(body: &Body, n: usize) -> At {
    use sqlparser::ast::SelectItem::{ExprWithAlias, UnnamedExpr};
    let Some(select) = body.query.body.as_select() else { return body.at };
    let plain = select.projection.iter().all(|item| matches!(item, ExprWithAlias { .. } | UnnamedExpr(_)));
    match select.projection.get(n) {
        Some(item) if plain && item.span() != At::empty() => item.span(),
        _ => select_list(body),
    }
}

/// How the `n`th column of a query is written or named, where that can be told.
fn select_text(body: &Body, n: usize) -> Option<String> {
    use sqlparser::ast::SelectItem::{ExprWithAlias, UnnamedExpr};
    let projection = &body.query.body.as_select()?.projection;
    projection.iter().all(|item| matches!(item, ExprWithAlias { .. } | UnnamedExpr(_))).then_some(())?;
    match projection.get(n)? {
        UnnamedExpr(expr) | ExprWithAlias { expr, .. } => Some(expr.to_string()),
        _ => None,
    }
}

/// Whether the `n`th column is a literal whose value can be kept in a column of this type.
fn literal_fits(plan: &LogicalPlan, n: usize, data_type: &DataType) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    match projection.expr.get(n).cloned().map(PlanExpr::unalias) {
        Some(PlanExpr::Literal(value, _)) if value.data_type().is_numeric() && data_type.is_numeric() => {
            let there = value.cast_to(data_type);
            there.and_then(|there| there.cast_to(&value.data_type())).is_ok_and(|back| back == value)
        }
        _ => false,
    }
}

/// Names of a list of identifiers, for messages.
pub(super) fn names(idents: &[Ident]) -> Vec<String> {
    idents.iter().map(normalized).collect()
}
