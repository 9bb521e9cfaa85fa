//! A window function over the result of another one: the query runs as several, each over the rows that the one below it
//! keeps in a stream of the log.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, TableReference};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};

use super::Checker;
use super::query::words_at_fault;
use crate::ast::{Body, Statement};
use crate::catalog::DeclaredTable;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lineage;
use crate::nodes::WindowNode;
use crate::pipeline::{Emit, MaterializedDef, QueryDef, Target};
use crate::shape::QueryShape;

/// How long rows between two parts of a query are kept once they were read.
const RETENTION: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

impl Checker {
    /// The top part of a query whose windows are over windows: those below become queries of their own, named after
    /// `query`. `None` when there are mistakes, which are reported.
    pub(super) fn nested(
        &mut self,
        statement: &Statement,
        body: &Body,
        query: &str,
        mut plan: LogicalPlan,
    ) -> Option<LogicalPlan> {
        for n in 1.. {
            let Some(upper) = lowest_nested(&plan) else { break };
            let name = format!("{query}.stage{n}");
            let below = self.stage(statement, body, [&name, &format!("stage.{query}.{n}")], &upper)?;
            let scan = scan_of(below, upper.input.schema()).and_then(|scan| replaced(plan, &upper, &scan));
            plan = match scan {
                Ok(plan) => plan,
                Err(error) => {
                    self.report(&error, statement, body.at, codes::SHAPE_DEFECT);
                    return None;
                }
            };
        }
        Some(plan)
    }

    /// Makes a query of what a window is over, with its name and that of the stream for its rows.
    fn stage(
        &mut self,
        statement: &Statement,
        body: &Body,
        [name, stream]: [&str; 2],
        upper: &WindowNode,
    ) -> Option<&MaterializedDef> {
        let plan = (*upper.input).clone();
        let at = statement.span(words_at_fault(codes::SHAPE_NESTED, statement, body));
        let shape = self.shape(statement, body, &plan)?;
        if matches!(shape, QueryShape::Stateless { .. }) {
            let message = "a window function over another window function, with no aggregate between them";
            let hint = "GROUP BY the window columns of the one below, in a subquery or view";
            self.found.push(Diagnostic::error(codes::SHAPE_NESTED, at, message).hint(hint));
            return None;
        }
        if !self.reads_no_updates(statement, body, &plan) {
            return None;
        }
        let times = self.view_times(&shape, &plan);
        let time = upper.input.schema().maybe_index_of_column(&upper.time);
        let is_time = |time: usize| times.iter().any(|known| lineage_same(&plan, known.column, time));
        if !time.is_some_and(is_time) {
            let message = format!("\"{}\" does not say how far the windows below have got", upper.time.name);
            let hint = "go by window_time or window_end of the windows below";
            self.found.push(Diagnostic::error(codes::WINDOW_TIME, at, message).hint(hint));
            return None;
        }
        // All columns of one origin are the same time; the one that is named is the one to go by.
        let time = time?;
        let times = times.into_iter().map(|known| match lineage_same(&plan, known.column, time) {
            true => crate::pipeline::ViewTime { column: time, ..known },
            false => known,
        });
        let span = statement.span(statement.at);
        let definition = MaterializedDef {
            name: name.to_owned(),
            stream: stream.to_owned(),
            schema: stored_columns(&plan),
            key: Vec::new(),
            times: times.collect(),
            has_updates: false,
            is_declared: false,
            retention: Some(RETENTION),
            span: span.clone(),
        };
        let target = Target::View(name.to_owned());
        let (emit, emit_span, sql) = (Emit::default(), span.clone(), statement.sql.clone());
        let name = name.to_owned();
        self.pipeline.queries.push(QueryDef { name: name.clone(), target, plan, shape, emit, emit_span, span, sql });
        self.pipeline.materialized.insert(name.clone(), definition);
        self.pipeline.materialized.get(&name)
    }
}

/// Whether two columns of a plan are the same one of what it is made of.
fn lineage_same(plan: &LogicalPlan, one: usize, other: usize) -> bool {
    one == other || lineage::origin(plan, one) == lineage::origin(plan, other)
}

/// The lowest window that is over another one.
fn lowest_nested(plan: &LogicalPlan) -> Option<WindowNode> {
    let mut found = None;
    // Visited from the top; the visitor never fails.
    let _ = lineage::for_each_window(plan, |window| {
        let mut is_nested = false;
        let _ = lineage::for_each_window(&window.input, |_| is_nested = true);
        if is_nested {
            found = Some(window.clone());
        }
    });
    found
}

/// The columns of a plan, under names of which each is there once.
fn stored_columns(plan: &LogicalPlan) -> SchemaRef {
    let mut fields: Vec<Field> = Vec::new();
    for (n, field) in plan.schema().fields().iter().enumerate() {
        let is_taken = fields.iter().any(|other| other.name() == field.name());
        let name = if is_taken { format!("{}_{n}", field.name()) } else { field.name().clone() };
        fields.push(field.as_ref().clone().with_name(name));
    }
    Arc::new(Schema::new(fields))
}

/// A scan of the rows of a part, with the columns that `schema` names.
fn scan_of(below: &MaterializedDef, schema: &datafusion::common::DFSchemaRef) -> Result<LogicalPlan, DataFusionError> {
    let table = TableReference::bare(below.name.as_str());
    let source = Arc::new(DeclaredTable { schema: Arc::clone(&below.schema) });
    let columns = below.schema.fields().iter().zip(schema.iter()).map(|(stored, (qualifier, field))| {
        let column = Expr::Column(Column::new(Some(table.clone()), stored.name()));
        column.alias_qualified(qualifier.cloned(), field.name())
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::scan(table.clone(), source, None)?.project(columns)?.build()
}

/// The plan with what a window is over replaced.
fn replaced(plan: LogicalPlan, upper: &WindowNode, scan: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    plan.transform_down(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        if extension.node.as_any().downcast_ref::<WindowNode>() != Some(upper) {
            return Ok(Transformed::no(node));
        }
        let window = WindowNode::try_new(scan.clone(), upper.time.clone(), upper.window.clone())?;
        let node = LogicalPlan::Extension(Extension { node: Arc::new(window) });
        Ok(Transformed::new(node, true, TreeNodeRecursion::Jump))
    })
    .data()
}
