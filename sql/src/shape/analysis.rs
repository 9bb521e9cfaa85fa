//! Cuts a query's plan into the parts of a [`QueryShape`], or says why it cannot run continuously.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Extension, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, lit,
};

use super::ordered::{check_row_by_row_output, keyed_window, mark, not_row_by_row};
use super::over::{self, StreamTime};
use super::refused::check_no_order_within;
use super::{
    CalendarExtent, GroupColumn, OrderedInput, OrderedOperator, OrderedShape, QueryShape, ShapeError, Window,
    WindowFunction, WindowedShape,
};
use crate::nodes::{PlaceholderNode, WINDOW_COLUMNS, WindowNode};

/// Name of the placeholder that stands for the rows of a closed window.
pub const CLOSED_WINDOW: &str = "closed window";

pub(super) type Result<T, E = ShapeError> = std::result::Result<T, E>;

/// Output columns of a plan that are window columns: index → which of [`WINDOW_COLUMNS`].
pub(super) type WindowColumns = HashMap<usize, usize>;

impl QueryShape {
    /// The shape of a type-checked plan, not optimised yet. `is_stream` tells streams from reference tables, `event_time` where
    /// the event time stands among a stream's columns.
    ///
    /// # Errors
    /// [`ShapeError`] when the query would need unbounded state or would never emit.
    pub fn of(
        plan: &LogicalPlan,
        is_stream: &dyn Fn(&str) -> bool,
        event_time: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<Self> {
        let analysis = Analysis { is_stream, event_time };
        analysis.check_everywhere(plan)?;
        if let Some(join) = analysis.stream_join(plan)? {
            return Ok(join);
        }
        let stream = analysis.only_stream(plan)?;
        let time = StreamTime { name: &stream, column: event_time(&stream) };
        let short = analysis.first_of_each(plan, &time)?;
        let plan = short.as_ref().unwrap_or(plan);
        if let Some(top) = analysis.over(plan)? {
            return analysis.calls(plan, &top, &time);
        }
        match analysis.windowed_aggregate(plan)? {
            Some(aggregate) => analysis.windowed(plan, &aggregate, stream),
            None => {
                analysis.check_row_by_row(plan)?;
                if find_window(plan).is_some_and(|node| !is_aligned(&node.window)) {
                    return Err(without_aggregate());
                }
                Ok(Self::Stateless { stream, input: plan.clone() })
            }
        }
    }
}

pub(super) struct Analysis<'a> {
    pub(super) is_stream: &'a dyn Fn(&str) -> bool,
    pub(super) event_time: &'a dyn Fn(&str) -> Option<usize>,
}

impl Analysis<'_> {
    /// Names of the streams that are scanned at or below the plan, subqueries in expressions included.
    pub(super) fn streams(&self, plan: &LogicalPlan) -> Vec<String> {
        let mut found = Vec::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && (self.is_stream)(scan.table_name.table())
            {
                found.push(scan.table_name.table().to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("the visitor never fails");
        found
    }

    /// Where the event time stands of a stream that the checker has found to have one.
    pub(super) fn time_column(&self, stream: &str) -> usize {
        (self.event_time)(stream).unwrap_or_default()
    }

    pub(super) fn reads_stream(&self, plan: &LogicalPlan) -> bool {
        !self.streams(plan).is_empty()
    }

    fn only_stream(&self, plan: &LogicalPlan) -> Result<String> {
        let mut streams = self.streams(plan);
        match streams.len() {
            1 => Ok(streams.remove(0)),
            0 => Err(ShapeError {
                code: "TC0301",
                message: "this query reads no stream, so it would never emit anything".into(),
                hint: "name a stream in FROM; reference tables can be queried ad hoc".into(),
            }),
            _ => Err(ShapeError {
                code: "TC0302",
                message: format!("this query reads streams more than once: {}", streams.join(", ")),
                hint: "two streams can be joined, and UNION ALL of queries INSERTed; for more, INSERT each part into a stream of its own"
                    .into(),
            }),
        }
    }

    /// The plan with `DISTINCT ON` over a stream written out, where it has one that no windowed aggregate is below.
    fn first_of_each(&self, plan: &LogicalPlan, time: &StreamTime<'_>) -> Result<Option<LogicalPlan>> {
        if self.windowed_aggregate(plan)?.is_some() {
            return Ok(None);
        }
        let mut found = None;
        plan.apply(|node| {
            if let LogicalPlan::Distinct(Distinct::On(distinct)) = node
                && self.reads_stream(node)
            {
                found = Some((node.clone(), distinct.clone()));
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("the visitor never fails");
        let Some((node, distinct)) = found else { return Ok(None) };
        let written_out = over::first_of_each(&distinct, time)?;
        let replaced = plan.clone().transform_down(|other| match other == node {
            true => Ok(Transformed::new(written_out.clone(), true, TreeNodeRecursion::Jump)),
            false => Ok(Transformed::no(other)),
        });
        Ok(Some(replaced.data().map_err(|e| internal(&e))?))
    }

    /// The topmost `OVER` of a plan, unless it is above a windowed aggregate, which DataFusion runs window by window.
    fn over(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if self.windowed_aggregate(plan)?.is_some() {
            return Ok(None);
        }
        let mut top = None;
        plan.apply(|node| {
            if matches!(node, LogicalPlan::Window(_)) && self.reads_stream(node) {
                top = Some(node.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("the visitor never fails");
        Ok(top)
    }

    fn calls(&self, plan: &LogicalPlan, top: &LogicalPlan, time: &StreamTime<'_>) -> Result<QueryShape> {
        let (below, _) = over::calls_of(top);
        self.check_row_by_row(below)?;
        if find_window(below).is_some_and(|node| !is_aligned(&node.window)) {
            return Err(without_aggregate());
        }
        self.check_above(plan, top)?;
        let cut = over::cut(plan, top, time)?;
        let time_column = self.time_column(time.name);
        let inputs = vec![OrderedInput { stream: time.name.to_owned(), time_column, plan: cut.input }];
        let operator = OrderedOperator::Over(cut.shape);
        Ok(QueryShape::Ordered(Box::new(OrderedShape { inputs, operator, output: cut.output })))
    }

    /// Checks that every row goes through what is above a node by itself.
    fn check_above(&self, plan: &LogicalPlan, top: &LogicalPlan) -> Result<()> {
        if plan == top || !self.reads_stream(plan) {
            return Ok(());
        }
        match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => {}
            LogicalPlan::SubqueryAlias(_) | LogicalPlan::Unnest(_) => {}
            LogicalPlan::Join(join) => self.check_join(join)?,
            LogicalPlan::Window(_) => return Err(refused(plan)),
            _ => return Err(not_row_by_row("OVER")),
        }
        plan.inputs().into_iter().try_for_each(|input| self.check_above(input, top))
    }

    /// The lowest aggregate above a window function, if the query has a window function with an aggregate over it.
    fn windowed_aggregate(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let mut windows = 0;
        let mut lowest = None;
        plan.apply(|node| {
            if window_node(node).is_some() && self.reads_stream(node) {
                windows += 1;
            }
            // visited from the top: the last one that has a window below it is the lowest
            if matches!(node, LogicalPlan::Aggregate(_)) && contains_window(node) && self.reads_stream(node) {
                lowest = Some(node.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("the visitor never fails");
        if windows > 1 {
            return Err(ShapeError {
                code: "TC0303",
                message: "a window function over another window function".into(),
                hint: "INSERT the first query's result into a stream of its own and window that".into(),
            });
        }
        Ok(lowest)
    }

    /// Checks that every row of the stream goes through the plan by itself.
    pub(super) fn check_row_by_row(&self, plan: &LogicalPlan) -> Result<()> {
        if !self.reads_stream(plan) {
            return Ok(());
        }
        match plan {
            LogicalPlan::TableScan(_) | LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => {}
            LogicalPlan::SubqueryAlias(_) | LogicalPlan::Unnest(_) => {}
            LogicalPlan::Extension(_) if window_node(plan).is_some() => {}
            LogicalPlan::Join(join) => self.check_join(join)?,
            other => return Err(refused(other)),
        }
        plan.inputs().into_iter().try_for_each(|input| self.check_row_by_row(input))
    }

    pub(super) fn check_join(&self, join: &Join) -> Result<()> {
        let stream_is_left = self.reads_stream(&join.left);
        let row_by_row = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => stream_is_left,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => !stream_is_left,
            JoinType::Full => false,
        };
        if row_by_row {
            return Ok(());
        }
        Err(ShapeError {
            code: "TC0305",
            message: format!(
                "a {} join keeps table rows that no stream row matches, which is never known",
                join.join_type
            ),
            hint: "use an inner join, or a left join with the stream on the left".into(),
        })
    }

    fn windowed(&self, plan: &LogicalPlan, aggregate_plan: &LogicalPlan, stream: String) -> Result<QueryShape> {
        let LogicalPlan::Aggregate(aggregate) = aggregate_plan else {
            unreachable!("windowed_aggregate returns aggregates only")
        };
        self.check_row_by_row(&aggregate.input)?;
        let columns = self.input_window_columns(&aggregate.input)?;
        let group = group_columns(aggregate, &columns)?;
        for expr in &aggregate.aggr_expr {
            if references_window(expr, aggregate.input.schema(), &columns) {
                return Err(window_in_expression("an aggregate's argument"));
            }
            check_no_order_within(expr)?;
        }
        let window = find_window(&aggregate.input).expect("a windowed aggregate has a window below");
        check_windows_apart(&window.window, &group)?;
        let output = with_placeholder(plan, aggregate_plan).map_err(|e| internal(&e))?;
        check_output(&output)?;
        let time_column = self.time_column(&stream);
        let aggregates = aggregate.aggr_expr.clone();
        let input = (*aggregate.input).clone();
        Ok(match window.window {
            WindowFunction::Aligned(window) => {
                let input = without_window(input, &|_| Ok(lit(epoch()))).map_err(|e| internal(&e))?;
                let shape = WindowedShape { stream, time_column, input, window, group, aggregates, output };
                QueryShape::Windowed(Box::new(shape))
            }
            function => {
                check_row_by_row_output(&output, function.name())?;
                let input = without_window(input, &|window| mark(&window.window)).map_err(|e| internal(&e))?;
                let carried = window_column(aggregate, &group).unalias();
                let (plan, window) =
                    keyed_window(input, &function, carried, None, group, aggregates).map_err(|e| internal(&e))?;
                let inputs = vec![OrderedInput { stream, time_column, plan }];
                let operator = OrderedOperator::Window(window);
                QueryShape::Ordered(Box::new(OrderedShape { inputs, operator, output }))
            }
        })
    }

    /// Window columns of a plan below the aggregate, where they may only be passed through.
    pub(super) fn input_window_columns(&self, plan: &LogicalPlan) -> Result<WindowColumns> {
        if !contains_window(plan) {
            return Ok(WindowColumns::new());
        }
        if window_node(plan).is_some() {
            return Ok(own_window_columns(plan));
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let below = self.input_window_columns(&projection.input)?;
                projected(projection, &below, true)
            }
            LogicalPlan::Filter(filter) => {
                let below = self.input_window_columns(&filter.input)?;
                if references_window(&filter.predicate, filter.input.schema(), &below) {
                    return Err(window_in_expression("WHERE"));
                }
                Ok(below)
            }
            LogicalPlan::SubqueryAlias(alias) => self.input_window_columns(&alias.input),
            LogicalPlan::Join(join) => {
                let conditions = join.on.iter().flat_map(|(l, r)| [l, r]).chain(&join.filter);
                let columns =
                    join_columns(join, self.input_window_columns(&join.left)?, self.input_window_columns(&join.right)?);
                for condition in conditions {
                    let names = condition.column_refs();
                    if names
                        .iter()
                        .any(|c| WINDOW_COLUMNS.contains(&c.name.as_str()) && contains_column(&columns, plan, c))
                    {
                        return Err(window_in_expression("a join condition"));
                    }
                }
                Ok(columns)
            }
            other => Err(refused(other)),
        }
    }
}

fn contains_column(columns: &WindowColumns, plan: &LogicalPlan, column: &Column) -> bool {
    plan.schema().index_of_column(column).is_ok_and(|i| columns.contains_key(&i))
}

fn join_columns(join: &Join, left: WindowColumns, right: WindowColumns) -> WindowColumns {
    let shift = join.left.schema().fields().len();
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
        _ => left.into_iter().chain(right.into_iter().map(|(i, kind)| (i + shift, kind))).collect(),
    }
}

/// Window columns of a projection's output; anything but a plain column over a window column is an error when `strict`.
fn projected(projection: &Projection, below: &WindowColumns, strict: bool) -> Result<WindowColumns> {
    let mut columns = WindowColumns::new();
    for (i, expr) in projection.expr.iter().enumerate() {
        if let Expr::Column(column) = expr.clone().unalias_nested().data {
            let index = projection.input.schema().index_of_column(&column).ok();
            if let Some(kind) = index.and_then(|index| below.get(&index)) {
                columns.insert(i, *kind);
            }
        } else if strict && references_window(expr, projection.input.schema(), below) {
            return Err(window_in_expression("an expression below the aggregate"));
        }
    }
    Ok(columns)
}

pub(super) fn window_node(plan: &LogicalPlan) -> Option<&WindowNode> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<WindowNode>(),
        _ => None,
    }
}

pub(super) fn find_window(plan: &LogicalPlan) -> Option<WindowNode> {
    let mut found = None;
    plan.apply(|node| {
        if let Some(window) = window_node(node) {
            found = Some(window.clone());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("the visitor never fails");
    found
}

fn contains_window(plan: &LogicalPlan) -> bool {
    find_window(plan).is_some()
}

fn own_window_columns(plan: &LogicalPlan) -> WindowColumns {
    let first = plan.schema().fields().len() - WINDOW_COLUMNS.len();
    (0..WINDOW_COLUMNS.len()).map(|kind| (first + kind, kind)).collect()
}

pub(super) fn references_window(expr: &Expr, schema: &DFSchema, columns: &WindowColumns) -> bool {
    expr.column_refs().into_iter().any(|c| schema.index_of_column(c).is_ok_and(|i| columns.contains_key(&i)))
}

pub(super) fn group_columns(aggregate: &Aggregate, columns: &WindowColumns) -> Result<Vec<GroupColumn>> {
    let schema = aggregate.input.schema();
    let mut group = Vec::with_capacity(aggregate.group_expr.len());
    for expr in &aggregate.group_expr {
        if let Expr::GroupingSet(_) = expr {
            return Err(ShapeError {
                code: "TC0306",
                message: "grouping sets, ROLLUP and CUBE are not supported over a stream".into(),
                hint: "write one query per grouping".into(),
            });
        }
        let kind = match expr.clone().unalias_nested().data {
            Expr::Column(column) => schema.index_of_column(&column).ok().and_then(|i| columns.get(&i).copied()),
            _ => None,
        };
        group.push(match kind {
            Some(0) => GroupColumn::WindowStart,
            Some(1) => GroupColumn::WindowEnd,
            Some(_) => GroupColumn::WindowTime,
            None if references_window(expr, schema, columns) => return Err(window_in_expression("GROUP BY")),
            None => GroupColumn::Key(expr.clone()),
        });
    }
    if group.iter().all(|column| matches!(column, GroupColumn::Key(_))) {
        return Err(never_closes());
    }
    Ok(group)
}

/// Checks that the grouping columns tell windows apart: `CUMULATE` has several of one start.
fn check_windows_apart(window: &WindowFunction, group: &[GroupColumn]) -> Result<()> {
    let cumulates = match window {
        WindowFunction::Aligned(Window::Cumulate { .. }) => true,
        WindowFunction::Aligned(Window::Calendar(window)) => matches!(window.extent, CalendarExtent::Cumulated(_)),
        _ => false,
    };
    if !cumulates || group.iter().any(|column| matches!(column, GroupColumn::WindowEnd | GroupColumn::WindowTime)) {
        return Ok(());
    }
    Err(ShapeError {
        code: "TC0319",
        message: "CUMULATE has several windows of one window_start, and this would be one group of them all".into(),
        hint: "add window_end to GROUP BY".into(),
    })
}

/// The plan with its window function replaced by window columns of a value that the engine can use, the same in all:
/// which windows a row has, the engine knows by itself.
pub(super) fn without_window(
    plan: LogicalPlan,
    value: &dyn Fn(&WindowNode) -> Result<Expr, DataFusionError>,
) -> Result<LogicalPlan, DataFusionError> {
    plan.transform_up(|node| {
        let Some(window) = window_node(&node) else {
            return Ok(Transformed::no(node.recompute_schema()?));
        };
        let first = window_schema_start(&node);
        let value = value(window)?;
        let mut exprs: Vec<Expr> = window.input.schema().columns().into_iter().map(Expr::Column).collect();
        for (qualifier, field) in node.schema().iter().skip(first) {
            exprs.push(value.clone().alias_qualified(qualifier.cloned(), field.name()));
        }
        let input = (*window.input).clone();
        Ok(Transformed::yes(LogicalPlanBuilder::from(input).project(exprs)?.build()?))
    })
    .data()
}

/// The expression of a window column among the grouping ones.
pub(super) fn window_column(aggregate: &Aggregate, group: &[GroupColumn]) -> Expr {
    let at = group.iter().position(|column| !matches!(column, GroupColumn::Key(_)));
    aggregate.group_expr[at.expect("an aggregate by window has a window column")].clone()
}

pub(super) fn epoch() -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(0), Some("UTC".into()))
}

fn window_schema_start(node: &LogicalPlan) -> usize {
    node.schema().fields().len() - WINDOW_COLUMNS.len()
}

fn with_placeholder(plan: &LogicalPlan, aggregate: &LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    plan.clone()
        .transform_down(|node| {
            if &node != aggregate {
                return Ok(Transformed::no(node));
            }
            let placeholder = PlaceholderNode::new(CLOSED_WINDOW, Arc::clone(node.schema()));
            let leaf = LogicalPlan::Extension(Extension { node: Arc::new(placeholder) });
            Ok(Transformed::new(leaf, true, TreeNodeRecursion::Jump))
        })
        .data()
}

/// Above a closed window all of DataFusion runs, once per window; an aggregate there must be one per window too, or its
/// reader would take it for a total over all time.
fn check_output(plan: &LogicalPlan) -> Result<WindowColumns> {
    let mut inputs = Vec::new();
    for input in plan.inputs() {
        inputs.push(check_output(input)?);
    }
    let first = || inputs.first().cloned().unwrap_or_default();
    Ok(match plan {
        LogicalPlan::Extension(_) => plan
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter_map(|(i, f)| Some((i, WINDOW_COLUMNS.iter().position(|name| name == f.name())?)))
            .collect(),
        LogicalPlan::Projection(projection) => projected(projection, &first(), false)?,
        LogicalPlan::Join(join) => {
            let mut sides = inputs.into_iter();
            join_columns(join, sides.next().unwrap_or_default(), sides.next().unwrap_or_default())
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = first();
            if below.is_empty() {
                // a reference table's own aggregate
                return Ok(WindowColumns::new());
            }
            let schema = aggregate.input.schema();
            let mut columns = WindowColumns::new();
            for (i, expr) in aggregate.group_expr.iter().enumerate() {
                if let Expr::Column(column) = expr.clone().unalias_nested().data
                    && let Some(kind) = schema.index_of_column(&column).ok().and_then(|index| below.get(&index))
                {
                    columns.insert(i, *kind);
                }
            }
            if columns.is_empty() {
                return Err(never_closes());
            }
            columns
        }
        _ => first(),
    })
}

pub(super) fn is_aligned(function: &WindowFunction) -> bool {
    matches!(function, WindowFunction::Aligned(_))
}

pub(super) fn without_aggregate() -> ShapeError {
    ShapeError {
        code: "TC0316",
        message: "the windows of this function depend on other rows, so a row by itself has none".into(),
        hint: "aggregate over them: GROUP BY a key, window_start, window_end".into(),
    }
}

fn never_closes() -> ShapeError {
    ShapeError {
        code: "TC0307",
        message: "this aggregate of a stream would never be complete".into(),
        hint: "aggregate over a window: FROM TUMBLE(stream, ts, INTERVAL '10 seconds') … GROUP BY …, window_start, window_end"
            .into(),
    }
}

pub(super) fn window_in_expression(place: &str) -> ShapeError {
    ShapeError {
        code: "TC0308",
        message: format!("a window column in {place}"),
        hint: "below the aggregate a window's columns can only be grouped by; filter windows with HAVING".into(),
    }
}

fn refused(plan: &LogicalPlan) -> ShapeError {
    let (code, message, hint) = match plan {
        LogicalPlan::Aggregate(_) => return never_closes(),
        LogicalPlan::Sort(_) => (
            "TC0309",
            "ORDER BY over a stream would wait for its end",
            "order the rows of a window, or order an ad-hoc query",
        ),
        LogicalPlan::Limit(_) => {
            ("TC0310", "LIMIT over a stream would stop it for ever", "limit the rows of a window, or an ad-hoc query")
        }
        LogicalPlan::Distinct(_) => {
            ("TC0311", "DISTINCT over a stream would remember every row", "GROUP BY the columns in a window")
        }
        LogicalPlan::Window(_) => (
            "TC0334",
            "OVER below another OVER or a windowed aggregate",
            "INSERT its rows into a stream of their own, and go on from there",
        ),
        LogicalPlan::Union(_) => {
            ("TC0313", "UNION with a stream is not supported yet", "INSERT both queries into one stream")
        }
        _ => (
            "TC0314",
            "this operation cannot run over a stream",
            "use filters, projections, joins with reference tables and windowed aggregates",
        ),
    };
    ShapeError { code, message: message.into(), hint: hint.into() }
}

pub(super) fn internal(error: &DataFusionError) -> ShapeError {
    ShapeError {
        code: "TC0399",
        message: format!("the plan could not be cut into stages: {error}"),
        hint: "this is a defect of thermocline: please report the query".into(),
    }
}
