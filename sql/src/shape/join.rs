//! Cuts a join of two streams out of a query: what each side gives, the condition, what runs above.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Extension, Join, JoinType, LogicalPlan, LogicalPlanBuilder};

use super::analysis::{Analysis, Result, find_window, internal, is_aligned, window_node, without_aggregate};
use super::join_condition::{Condition, Side, bounds};
use super::{
    AsOfJoin, JoinReach, JoinedRows, OrderedInput, OrderedOperator, OrderedShape, QueryShape, ShapeError, StreamJoin,
    Window, WindowFunction,
};
use crate::asof;
use crate::nodes::PlaceholderNode;

/// Name of the placeholder that stands for joined rows.
const JOINED_ROWS: &str = "joined rows";

/// Where the join stands in a query's plan.
struct Found {
    join: Join,
    /// The join, with the filter right above it where that belongs to its condition.
    node: LogicalPlan,
    further: Vec<Expr>,
}

impl Analysis<'_> {
    /// The shape of a query that joins two streams; `None` when it does not.
    pub(super) fn stream_join(&self, plan: &LogicalPlan) -> Result<Option<QueryShape>> {
        let joins = plan.exists(|node| Ok(self.is_stream_join(node).is_some()));
        if !joins.expect("the visitor never fails") {
            return if match_conditions(plan) == 0 { Ok(None) } else { Err(not_two_streams()) };
        }
        let streams = self.streams(plan);
        if streams.len() > 2 {
            return Err(ShapeError {
                code: "TC0302",
                message: format!("this query reads streams more than twice: {}", streams.join(", ")),
                hint: "join two streams at a time: INSERT the first join into a stream, and join that".into(),
            });
        }
        let found = self.find_stream_join(plan)?;
        let (left, right) = (self.side(&found.join.left)?, self.side(&found.join.right)?);
        let condition = Condition::of(&found.join, found.further.clone(), [&left, &right]);
        if match_conditions(plan) > usize::from(condition.match_condition.is_some()) {
            return Err(not_two_streams());
        }
        cut(plan, &found, [&left, &right], condition).map(Some)
    }

    fn is_stream_join<'p>(&self, plan: &'p LogicalPlan) -> Option<&'p Join> {
        match plan {
            LogicalPlan::Join(join) if self.reads_stream(&join.left) && self.reads_stream(&join.right) => Some(join),
            _ => None,
        }
    }

    /// Walks down to the join; each row must go through what is above it by itself.
    fn find_stream_join(&self, plan: &LogicalPlan) -> Result<Found> {
        if let Some(join) = self.is_stream_join(plan) {
            return Ok(Found { join: join.clone(), node: plan.clone(), further: Vec::new() });
        }
        if let LogicalPlan::Filter(filter) = plan
            && let Some(join) = self.is_stream_join(&filter.input)
            && join.join_type == JoinType::Inner
        {
            return Ok(Found { join: join.clone(), node: plan.clone(), further: vec![filter.predicate.clone()] });
        }
        match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::Unnest(_) => {}
            LogicalPlan::Join(join) => self.check_join(join)?,
            _ => {
                let message = "above a join of streams every row runs by itself: there is no set of rows to sort, limit or \
                               aggregate";
                let hint = "INSERT its rows into a stream and aggregate that over a TUMBLE window";
                return Err(ShapeError { code: "TC0317", message: message.into(), hint: hint.into() });
            }
        }
        let below = plan.inputs().into_iter().find(|input| self.reads_stream(input));
        self.find_stream_join(below.expect("the join is below"))
    }

    fn side<'p>(&self, plan: &'p LogicalPlan) -> Result<Side<'p>> {
        let aggregates = plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_)) && self.reads_stream(node)));
        if aggregates.expect("the visitor never fails") {
            let hint = "INSERT the result of each side into a stream of its own, with a WATERMARK, and join those";
            return Err(form("a side of this join aggregates a stream", hint));
        }
        self.check_row_by_row(plan)?;
        if find_window(plan).is_some_and(|node| !is_aligned(&node.window)) {
            return Err(without_aggregate());
        }
        let stream = self.streams(plan).swap_remove(0);
        let Some(event_time) = (self.event_time)(&stream) else {
            return Err(ShapeError {
                code: "TC0342",
                message: format!("the stream \"{stream}\" has no watermark, and a join of streams goes by event time"),
                hint: format!("add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of {stream}"),
            });
        };
        Ok(Side { plan, stream, event_time })
    }
}

/// How many as-of joins there are.
fn match_conditions(plan: &LogicalPlan) -> usize {
    let mut count = 0;
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                count += usize::from(matches!(expr, Expr::ScalarFunction(_)) && asof::match_condition(expr).is_some());
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    visited.expect("the visitor never fails");
    count
}

fn not_two_streams() -> ShapeError {
    form("an as-of join is of two streams", "a join with a reference table takes its current version: JOIN … ON …")
}

fn form(message: impl Into<String>, hint: impl Into<String>) -> ShapeError {
    ShapeError { code: "TC0341", message: message.into(), hint: hint.into() }
}

fn cut(plan: &LogicalPlan, found: &Found, sides: [&Side<'_>; 2], condition: Condition) -> Result<QueryShape> {
    let is_asof = condition.match_condition.is_some();
    let operator = |rows| -> Result<OrderedOperator> {
        Ok(match is_asof {
            true => OrderedOperator::AsOfJoin(Box::new(as_of(&condition, rows, sides)?)),
            false => OrderedOperator::Join(Box::new(join(&condition, rows, found.join.join_type, sides)?)),
        })
    };
    let needed = needed_columns(plan, &found.node, &condition.residual);
    let keys = condition.keys.clone();
    let (inputs, schema, output) = cut_plans(plan, found, sides, &keys, &needed).map_err(|e| internal(&e))?;
    let of_left = needed.iter().filter(|i| **i < sides[0].plan.schema().fields().len()).count();
    let columns = [of_left, needed.len() - of_left];
    let operator = operator(JoinedRows { keys: keys.len(), columns, schema: Arc::new(schema) })?;
    Ok(QueryShape::Ordered(Box::new(OrderedShape { inputs, operator, output })))
}

fn join(condition: &Condition, rows: JoinedRows, join_type: JoinType, sides: [&Side<'_>; 2]) -> Result<StreamJoin> {
    if !matches!(join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
        return Err(form(
            format!("a {join_type} join of streams is not supported"),
            "use an inner, left, right or full join",
        ));
    }
    let mut residual = condition.residual.clone();
    let reach = if condition.same_window {
        residual.extend(condition.times.iter().cloned());
        same_window(sides)?
    } else {
        interval(condition, sides)?
    };
    Ok(StreamJoin { join_type, rows, reach, residual: conjunction(residual) })
}

/// Both sides have the same tumbling windows.
fn same_window(sides: [&Side<'_>; 2]) -> Result<JoinReach> {
    let [left, right] = sides.map(|side| find_window(side.plan).map(|node| node.window));
    if left != right {
        return Err(form("the two sides of this join have different windows", "give both the same TUMBLE window"));
    }
    match left {
        Some(WindowFunction::Aligned(Window::Tumble { size_us, offset_us })) => {
            Ok(JoinReach::Window { size_us, offset_us })
        }
        _ => Err(form(
            "a row of one side would be in several windows with the same row of the other",
            "join over TUMBLE, or by an interval: a.ts BETWEEN b.ts - INTERVAL '…' AND b.ts + INTERVAL '…'",
        )),
    }
}

fn interval(condition: &Condition, sides: [&Side<'_>; 2]) -> Result<JoinReach> {
    let unbounded = |message: &str, hint: String| ShapeError { code: "TC0340", message: message.into(), hint };
    let [Some(left), Some(right)] = sides.map(Side::time) else {
        let message = "this join of streams has no bound in event time";
        let hint = "the event time of both sides must be among their columns, unchanged, to be compared".to_owned();
        return Err(unbounded(message, hint));
    };
    match (condition.min_us, condition.max_us) {
        (Some(min_us), Some(max_us)) if min_us > max_us => Err(form(
            "no two rows can fulfil this condition: the bounds in event time exclude each other",
            format!("write {left} BETWEEN {right} - INTERVAL '…' AND {right} + INTERVAL '…', the earlier bound first"),
        )),
        (Some(min_us), Some(max_us)) => Ok(JoinReach::Interval { min_us, max_us }),
        (None, None) => Err(unbounded(
            "this join of streams would have to remember every row: nothing bounds how far apart in time two rows may be",
            format!("add AND {left} BETWEEN {right} - INTERVAL '1 minute' AND {right} + INTERVAL '1 minute'"),
        )),
        (Some(_), None) => Err(unbounded(
            "this join of streams would have to remember every row: nothing bounds how much later the first may be",
            format!("add AND {left} <= {right} + INTERVAL '1 minute'"),
        )),
        (None, Some(_)) => Err(unbounded(
            "this join of streams would have to remember every row: nothing bounds how much earlier the first may be",
            format!("add AND {left} >= {right} - INTERVAL '1 minute'"),
        )),
    }
}

fn as_of(condition: &Condition, rows: JoinedRows, sides: [&Side<'_>; 2]) -> Result<AsOfJoin> {
    let names = || {
        let [left, right] = sides.map(|side| side.time().map_or_else(|| "ts".to_owned(), |column| column.to_string()));
        (left, right)
    };
    let wrong = || {
        let (left, right) = names();
        form(
            "the MATCH_CONDITION of an as-of join compares the event times of the two streams by >= or >",
            format!("write MATCH_CONDITION ({left} >= {right})"),
        )
    };
    let strictly_earlier = match &condition.match_condition {
        Some(Expr::BinaryExpr(BinaryExpr { left, op, right })) => match bounds(left, *op, right, sides) {
            Some((Some(0), None)) => false,
            Some((Some(1), None)) => true,
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    };
    if condition.min_us.is_some() || condition.same_window || !condition.residual.is_empty() {
        let (left, right) = names();
        return Err(form(
            "the ON of an as-of join takes equal keys and how old a match may be",
            format!(
                "write ON … = … AND {left} - {right} <= INTERVAL '1 hour'; what else a match must fulfil can be filtered in \
                 a subquery"
            ),
        ));
    }
    if condition.max_us.is_some_and(|max_us| max_us < 0) {
        return Err(form("a match of this as-of join would be too old in any case", "give a longer interval"));
    }
    Ok(AsOfJoin { rows, strictly_earlier, max_age_us: condition.max_us })
}

/// The columns of the join, by index, that something above it or the rest of its condition may look at.
fn needed_columns(plan: &LogicalPlan, node: &LogicalPlan, residual: &[Expr]) -> Vec<usize> {
    let mut names: HashSet<String> =
        residual.iter().flat_map(Expr::column_refs).map(|column| column.name.clone()).collect();
    let (mut all, mut projected) = (false, false);
    let visited = plan.apply(|above| {
        if above == node {
            return Ok(TreeNodeRecursion::Jump);
        }
        projected |= matches!(above, LogicalPlan::Projection(_));
        for expr in above.expressions() {
            names.extend(expr.column_refs().into_iter().map(|column| column.name.clone()));
            all |= expr.exists(|e| {
                Ok(matches!(
                    e,
                    Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
                ))
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.expect("the visitor never fails");
    let fields = node.schema().fields().iter().enumerate();
    let mut needed: Vec<usize> =
        fields.filter(|(_, field)| all || !projected || names.contains(field.name())).map(|(i, _)| i).collect();
    if needed.is_empty() {
        // Rows are counted by a column.
        needed.push(0);
    }
    needed
}

type Parts = (Vec<OrderedInput>, DFSchema, LogicalPlan);

fn cut_plans(
    plan: &LogicalPlan,
    found: &Found,
    sides: [&Side<'_>; 2],
    keys: &[(Expr, Expr)],
    needed: &[usize],
) -> Result<Parts, DataFusionError> {
    let of_left = sides[0].plan.schema().fields().len();
    let (left, right): (Vec<usize>, Vec<usize>) = needed.iter().partition(|i| **i < of_left);
    let right: Vec<usize> = right.into_iter().map(|i| i - of_left).collect();
    let left_keys = keys.iter().map(|(left, _)| left);
    let right_keys = keys.iter().map(|(_, right)| right);
    let inputs = vec![
        input(sides[0], left_keys.cloned().collect(), &left)?,
        input(sides[1], right_keys.cloned().collect(), &right)?,
    ];
    let schema = found.node.schema();
    let fields = needed.iter().map(|i| schema.qualified_field(*i));
    let fields = fields.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    let schema = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
    let output = plan.clone().transform_down(|node| {
        if node != found.node {
            return Ok(Transformed::no(node));
        }
        let placeholder = PlaceholderNode::new(JOINED_ROWS, Arc::new(schema.clone()));
        let leaf = LogicalPlan::Extension(Extension { node: Arc::new(placeholder) });
        Ok(Transformed::new(leaf, true, TreeNodeRecursion::Jump))
    });
    Ok((inputs, schema, output.data()?))
}

fn input(side: &Side<'_>, keys: Vec<Expr>, columns: &[usize]) -> Result<OrderedInput, DataFusionError> {
    debug_assert!(window_node(side.plan).is_none_or(|node| is_aligned(&node.window)));
    let all = side.plan.schema().columns();
    let keys = keys.into_iter().enumerate().map(|(n, key)| key.unalias().alias(format!("k{n}")));
    let columns = columns.iter().enumerate().map(|(n, i)| Expr::Column(all[*i].clone()).alias(format!("c{n}")));
    let mut exprs: Vec<Expr> = keys.chain(columns).collect();
    if exprs.is_empty() {
        // Rows are counted by a column.
        exprs.push(datafusion::logical_expr::lit(true).alias("one"));
    }
    let plan = LogicalPlanBuilder::from(side.plan.clone()).project(exprs)?.build()?;
    Ok(OrderedInput { stream: side.stream.clone(), time_column: side.event_time, plan })
}
