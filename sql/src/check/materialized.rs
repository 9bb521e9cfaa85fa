//! `CREATE MATERIALIZED VIEW`: a continuous query whose rows stay, and can be queried and read on.
//!
//! Where every row of the query runs by itself, continuous queries over the view run its query themselves, as that of a
//! plain view; of any other they read the stream that holds its rows.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;
use sqlparser::tokenizer::Span as At;

use super::options::OptionReader;
use super::query::words_at_fault;
use super::{Checker, view_key};
use crate::ast::{Body, CreateMaterializedView, Kind, Statement};
use crate::catalog::{DeclaredTable, InlinedView};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lineage;
use crate::parse::normalized;
use crate::pipeline::{Emit, MaterializedDef, Target};
use crate::shape::QueryShape;
use crate::source::Span;

impl Checker {
    pub(super) fn materialized_view(&mut self, statement: &Statement) {
        let Kind::MaterializedView(view) = &statement.kind else { return };
        let name = normalized(&view.name);
        if self.declare_materialized(statement, view, &name).is_none() {
            self.pipeline.materialized.shift_remove(&name);
            self.broken.insert(name);
        }
    }

    fn declare_materialized(&mut self, statement: &Statement, view: &CreateMaterializedView, name: &str) -> Option<()> {
        let before = self.errors();
        let mut options = OptionReader::new(statement, &view.options, &mut self.found);
        let retention = options.duration("retention");
        options.finish(|_| false);
        let body = &view.query;
        let plan = self.plan(statement, body)?;
        self.view_inputs.push((lineage::tables(&plan).unwrap_or_default(), name.to_owned()));
        self.query(statement, body, Target::View(name.to_owned()), plan.clone());
        if self.errors() > before {
            return None;
        }
        let own = |query: &&crate::pipeline::QueryDef| query.target == Target::View(name.to_owned());
        let queries: Vec<_> = self.pipeline.queries.iter().filter(own).collect();
        let is_row_by_row = queries.iter().all(|query| matches!(query.shape, QueryShape::Stateless { .. }));
        let key = match queries.as_slice() {
            [query] => view_key::of(&query.shape, &query.plan, &self.primary_keys()).map_err(Some),
            _ if is_row_by_row => Ok(Vec::new()),
            _ => Err(None),
        };
        let key = match key {
            Ok(key) => key,
            Err(mistake) => {
                self.report_no_key(statement, body, mistake);
                return None;
            }
        };
        let first = queries.first()?;
        let (times, has_updates) = (self.view_times(&first.shape, &first.plan), first.emit.has_updates());
        let schema = columns(&plan);
        let reference = TableReference::bare(name);
        match is_row_by_row {
            true => self.catalog.insert(reference, Arc::new(InlinedView::new(plan))),
            false => self.catalog.insert(reference, Arc::new(DeclaredTable { schema: Arc::clone(&schema) })),
        }
        self.event_times.insert(name, times.first().map(|time| time.column));
        let definition = MaterializedDef {
            name: name.to_owned(),
            stream: format!("view.{name}"),
            schema,
            key,
            times,
            has_updates,
            is_declared: true,
            retention,
            span: statement.span(view.name.span),
        };
        self.pipeline.materialized.insert(name.to_owned(), definition);
        Some(())
    }

    fn report_no_key(&mut self, statement: &Statement, body: &Body, mistake: Option<view_key::NoKey>) {
        let at = words_at_fault(codes::VIEW_KEY, statement, body);
        let diagnostic = match mistake {
            Some(view_key::NoKey::Missing(column)) => {
                let message = format!("rows of this view are known by \"{column}\", which is not among its columns");
                let hint = match column.as_str() {
                    view_key::WINDOW => "add window_end to the columns".to_owned(),
                    column => format!("add {column} to the columns"),
                };
                Diagnostic::error(codes::VIEW_KEY, statement.span(at), message).hint(hint)
            }
            Some(view_key::NoKey::Multiplied) => {
                let message = "above its aggregate, this query makes several rows of one: nothing tells them apart";
                let hint = "join a table by its PRIMARY KEY, or below the aggregate";
                Diagnostic::error(codes::VIEW_NO_KEY, statement.span(at), message).hint(hint)
            }
            None => {
                let at = words_at_fault(codes::SHAPE_UNION, statement, body);
                let message = "rows of several queries have no common key in one view";
                let hint = "give each query a view of its own, and a plain view UNION ALL over them";
                Diagnostic::error(codes::VIEW_NO_KEY, statement.span(at), message).hint(hint)
            }
        };
        self.found.push(diagnostic);
    }

    /// The tables with a primary key.
    fn primary_keys(&self) -> impl Fn(&str) -> Vec<String> {
        |table: &str| self.pipeline.tables.get(table).map(|table| table.primary_key.clone()).unwrap_or_default()
    }

    /// Whether rows come from a stream or from what keeps the rows of a view.
    pub(super) fn is_stream(&self, name: &str) -> bool {
        self.pipeline.streams.contains_key(name) || self.pipeline.materialized.contains_key(name)
    }

    /// When a query emits that may read a view whose rows are replaced: a sink gets the replacements.
    pub(super) fn emit_of_views(
        &mut self,
        statement: &Statement,
        body: &Body,
        target: &Target,
        plan: &LogicalPlan,
        shape: &QueryShape,
        own: (Emit, Span),
    ) -> Option<(Emit, Span)> {
        let Some(view) = self.replaced_view(plan) else { return Some(own) };
        let into_sink = matches!((target, shape), (Target::Sink(_), QueryShape::Stateless { .. }));
        if !into_sink {
            self.reads_no_updates(statement, body, plan);
            return None;
        }
        let view = Target::View(view);
        let emit = self.pipeline.queries.iter().find(|query| query.target == view).map(|query| query.emit);
        let span = statement.span(words_at_fault(codes::SHAPE_NO_STREAM, statement, body));
        let emit = emit.unwrap_or(own.0);
        self.runs_row_by_row(statement, body, plan).then_some((emit, span))
    }

    /// A view that the plan reads whose rows are replaced.
    fn replaced_view(&self, plan: &LogicalPlan) -> Option<String> {
        let tables = lineage::tables(plan).unwrap_or_default();
        let is_replaced = |name: &String| self.pipeline.materialized.get(name).is_some_and(|view| view.has_updates);
        tables.into_iter().find(is_replaced)
    }

    /// Reports a view whose rows are replaced where they would count twice.
    pub(super) fn reads_no_updates(&mut self, statement: &Statement, body: &Body, plan: &LogicalPlan) -> bool {
        let Some(view) = self.replaced_view(plan) else { return true };
        let at: At = words_at_fault(codes::SHAPE_NO_STREAM, statement, body);
        let message =
            format!("rows of \"{view}\" are emitted early or corrected: here the earlier ones would count too");
        let hint =
            "leave EMIT and ALLOW LATENESS out of the view, send its rows straight to a sink, or query it ad hoc";
        self.found.push(Diagnostic::error(codes::VIEW_UPDATES, statement.span(at), message).hint(hint));
        false
    }
}

/// The columns of a plan, by their bare names.
pub(super) fn columns(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(Schema::new(plan.schema().fields().clone()))
}
