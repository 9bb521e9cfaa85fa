//! Parts of ordered queries: what the operator takes, what may run above it.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DataFusionError, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{AggregateFunction, Alias};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit, when};

use super::{GroupColumn, KeyedAggregate, KeyedWindow, KeyedWindowFunction, ShapeError, WindowFunction};
use crate::nodes::KEYED_WINDOW_TIME;

/// Cuts an aggregate off its input: a plan that gives each key, argument and filter as a column of its own, once, and
/// the aggregate over those columns. Rows wait in order before they are aggregated: only what is needed should wait.
///
/// `carried` is what [`mark`] became in the input; `time`, where there is one, becomes the column
/// [`KEYED_WINDOW_TIME`].
pub(super) fn keyed_window(
    input: LogicalPlan,
    function: &WindowFunction,
    carried: Expr,
    time: Option<Expr>,
    group: Vec<GroupColumn>,
    aggregates: Vec<Expr>,
) -> Result<(LogicalPlan, KeyedWindow), DataFusionError> {
    let mut columns = Columns::default();
    let group = group
        .into_iter()
        .map(|column| match column {
            GroupColumn::Key(expr) => GroupColumn::Key(columns.column(expr)),
            window => window,
        })
        .collect();
    let aggregates = aggregates
        .into_iter()
        .map(|aggregate| {
            let replaced = aggregate.transform_down(|expr| match expr {
                Expr::AggregateFunction(call) => {
                    let call = columns.of_call(call);
                    Ok(Transformed::new(call, true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
                }
                other => Ok(Transformed::no(other)),
            });
            replaced.data()
        })
        .collect::<Result<_, _>>()?;
    let function = match function {
        WindowFunction::Session { gap_us } => KeyedWindowFunction::Session { gap_us: *gap_us },
        WindowFunction::Count { rows, slide } => KeyedWindowFunction::Count { rows: *rows, slide: *slide },
        WindowFunction::State { .. } => KeyedWindowFunction::State { mark: columns.column(carried) },
        WindowFunction::Aligned(window) => return internal_err!("{window} has no keyed windows"),
    };
    let mut exprs = columns.exprs();
    exprs.extend(time.map(|time| time.alias(KEYED_WINDOW_TIME)));
    let plan = LogicalPlanBuilder::from(input).project(exprs)?.build()?;
    Ok((plan, KeyedWindow { function, aggregate: KeyedAggregate { group, aggregates } }))
}

/// What the input's window columns carry below the aggregate: for a state window, what the row does to it.
pub(super) fn mark(window: &WindowFunction) -> Result<Expr, DataFusionError> {
    let value = |mark: i64| lit(ScalarValue::TimestampMicrosecond(Some(mark), Some("UTC".into())));
    let WindowFunction::State { start, end } = window else { return Ok(value(0)) };
    let (start, end) = (start.as_ref(), end.as_ref());
    let (starts, ends) = (KeyedWindowFunction::STARTS, KeyedWindowFunction::ENDS);
    when(start.clone().and(end.clone()), value(starts + ends))
        .when(start.clone(), value(starts))
        .when(end.clone(), value(ends))
        .otherwise(value(0))
}

/// Expressions that become columns `c0`, `c1`, …
#[derive(Default)]
pub(super) struct Columns {
    exprs: Vec<Expr>,
}

impl Columns {
    /// The column of an expression.
    pub(super) fn column(&mut self, expr: Expr) -> Expr {
        let expr = expr.unalias();
        let at = self.exprs.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.exprs.push(expr);
            self.exprs.len() - 1
        });
        Expr::Column(Column::new_unqualified(format!("c{at}")))
    }

    /// An argument: the column of an expression, or a literal.
    pub(super) fn argument(&mut self, expr: Expr) -> Expr {
        match expr {
            literal @ Expr::Literal(..) => literal,
            other => self.column(other),
        }
    }

    /// A call over columns; literals stay, functions look at them when they are compiled.
    pub(super) fn of_call(&mut self, mut call: AggregateFunction) -> Expr {
        let params = &mut call.params;
        for argument in &mut params.args {
            *argument = self.argument(std::mem::take(argument));
        }
        if let Some(filter) = &mut params.filter {
            **filter = self.column(std::mem::take(filter));
        }
        for order in &mut params.order_by {
            order.expr = self.column(std::mem::take(&mut order.expr));
        }
        Expr::AggregateFunction(call)
    }

    /// What the columns are; at least one, rows are counted by it.
    pub(super) fn exprs(mut self) -> Vec<Expr> {
        if self.exprs.is_empty() {
            self.exprs.push(lit(true));
        }
        let named = |(n, expr): (usize, Expr)| Expr::Alias(Alias::new(expr, None::<&str>, format!("c{n}")));
        self.exprs.into_iter().enumerate().map(named).collect()
    }
}

/// Above an ordered operator each row runs by itself: what it emits at once has no meaning of its own.
pub(crate) fn check_row_by_row_output(output: &LogicalPlan, operator: &str) -> Result<(), ShapeError> {
    let is_row_by_row = match output {
        LogicalPlan::Extension(_) | LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => true,
        LogicalPlan::Join(_) | LogicalPlan::Unnest(_) => true,
        // A reference table's own part.
        other => !contains_placeholder(other),
    };
    if is_row_by_row {
        return output.inputs().into_iter().try_for_each(|input| check_row_by_row_output(input, operator));
    }
    Err(not_row_by_row(operator))
}

/// What stands above an operator needs more than one row.
pub(super) fn not_row_by_row(operator: &str) -> ShapeError {
    ShapeError {
        code: "TC0317",
        message: format!(
            "above {operator} every row runs by itself: there is no set of rows to sort, limit or aggregate"
        ),
        hint: "INSERT its rows into a stream and aggregate that over a TUMBLE window".into(),
    }
}

fn contains_placeholder(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Extension(_)))).expect("the visitor never fails")
}
