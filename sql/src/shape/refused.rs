//! What no continuous query can have, wherever it stands: subqueries and set operations that need all rows of a stream, and
//! functions whose value the rows do not determine.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan, Volatility};

use super::analysis::{Analysis, Result};
use super::{ShapeError, error};

impl Analysis<'_> {
    /// Finds the first of them from the top.
    pub(super) fn check_everywhere(&self, plan: &LogicalPlan) -> Result<()> {
        let mut found = None;
        plan.apply_with_subqueries(|node| {
            found = self.refusal(node);
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
        .expect("the visitor never fails");
        found.map_or(Ok(()), Err)
    }

    fn refusal(&self, node: &LogicalPlan) -> Option<ShapeError> {
        let expressions = node.expressions();
        if expressions.iter().any(|expr| self.has_stream_subquery(expr)) {
            return Some(error(
                "TC0304",
                "a subquery over a stream inside an expression has no end",
                "only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time",
            ));
        }
        if let Some(function) = expressions.iter().find_map(undetermined) {
            return Some(error(
                "TC0318",
                &format!("{function}() is not determined by the rows: after a restart it would be another"),
                "take the event time of the stream, or window_end, for a time; make other values of the row's columns",
            ));
        }
        self.set_operation(node)
    }

    /// `UNION`, `EXCEPT` and `INTERSECT` as DataFusion plans them.
    fn set_operation(&self, node: &LogicalPlan) -> Option<ShapeError> {
        let distinct = |node: &LogicalPlan| match node {
            LogicalPlan::Distinct(Distinct::All(input)) => Some(input.clone()),
            _ => None,
        };
        match node {
            LogicalPlan::Distinct(Distinct::All(input))
                if matches!(**input, LogicalPlan::Union(_)) && self.reads_stream(input) =>
            {
                Some(error(
                    "TC0313",
                    "UNION of streams would remember every row, to leave out those that come again",
                    "write UNION ALL",
                ))
            }
            LogicalPlan::Join(join)
                if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
                    && distinct(&join.left).is_some_and(|input| self.reads_stream(&input)) =>
            {
                Some(error(
                    "TC0313",
                    "EXCEPT and INTERSECT would remember every row of a stream",
                    "JOIN what is to be compared: a reference table by its key, a stream with a bound in event time",
                ))
            }
            _ => None,
        }
    }

    fn has_stream_subquery(&self, expr: &Expr) -> bool {
        expr.exists(|e| {
            Ok(match e {
                Expr::ScalarSubquery(s) => self.reads_stream(&s.subquery),
                Expr::Exists(e) => self.reads_stream(&e.subquery.subquery),
                Expr::InSubquery(e) => self.reads_stream(&e.subquery.subquery),
                Expr::SetComparison(c) => self.reads_stream(&c.subquery.subquery),
                _ => false,
            })
        })
        .expect("the visitor never fails")
    }
}

/// Checks that an aggregate over a stream's rows has no `ORDER BY` of its own: they are added as they come.
pub(super) fn check_no_order_within(aggregate: &Expr) -> Result<()> {
    match aggregate.clone().unalias() {
        Expr::AggregateFunction(call) if !call.params.order_by.is_empty() => Err(error(
            "TC0314",
            &format!("ORDER BY inside {}() over a stream", call.func.name()),
            "first(value, time) and last(value, time) go by a time",
        )),
        _ => Ok(()),
    }
}

/// The function of an expression whose value is another one the next time: a clock, or chance.
pub(crate) fn undetermined(expr: &Expr) -> Option<String> {
    let mut found = None;
    expr.apply(|e| {
        if let Expr::ScalarFunction(call) = e
            && call.func.signature().volatility != Volatility::Immutable
        {
            found = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("the visitor never fails");
    found
}
