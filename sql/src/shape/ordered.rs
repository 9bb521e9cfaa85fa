//! Parts of ordered queries: what the operator takes, what may run above it.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::expr::{AggregateFunction, Alias};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::{GroupColumn, KeyedAggregate, ShapeError};

/// Cuts an aggregate off its input: a plan that gives each key, argument and filter as a column of its own, once, and
/// the aggregate over those columns. Rows wait in order before they are aggregated: only what is needed should wait.
pub(super) fn keyed_aggregate(
    input: LogicalPlan,
    group: Vec<GroupColumn>,
    aggregates: Vec<Expr>,
) -> Result<(LogicalPlan, KeyedAggregate), DataFusionError> {
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
    let plan = LogicalPlanBuilder::from(input).project(columns.exprs())?.build()?;
    Ok((plan, KeyedAggregate { group, aggregates }))
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
pub(super) fn check_row_by_row_output(output: &LogicalPlan, operator: &str) -> Result<(), ShapeError> {
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
