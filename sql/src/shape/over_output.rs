//! What stands above `OVER`: the columns it reads, and whether it keeps the first rows of each key only.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, TableReference};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, Operator};

use crate::nodes::PlaceholderNode;

/// Name of the placeholder that stands for rows with the results of their calls.
const ROWS_WITH_CALLS: &str = "rows with the results of OVER";

/// Columns of `top` that the plan above it reads; `None` when it reads all of them.
pub(super) fn needed_columns(plan: &LogicalPlan, top: &LogicalPlan) -> Option<BTreeSet<usize>> {
    needed_below(plan, None, top)
}

/// `wanted`: columns of the plan's own output, all of them when `None`.
fn needed_below(plan: &LogicalPlan, wanted: Option<BTreeSet<usize>>, top: &LogicalPlan) -> Option<BTreeSet<usize>> {
    if plan == top {
        return wanted;
    }
    let refs = |expr: &Expr, schema: &DFSchema, into: &mut BTreeSet<usize>| {
        into.extend(expr.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column)));
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let mut needed = BTreeSet::new();
            // What nobody reads is computed all the same.
            projection.expr.iter().for_each(|expr| refs(expr, projection.input.schema(), &mut needed));
            needed_below(&projection.input, Some(needed), top)
        }
        LogicalPlan::Filter(filter) => {
            let wanted = wanted.map(|mut wanted| {
                refs(&filter.predicate, filter.input.schema(), &mut wanted);
                wanted
            });
            needed_below(&filter.input, wanted, top)
        }
        LogicalPlan::SubqueryAlias(alias) => needed_below(&alias.input, wanted, top),
        other => other.inputs().into_iter().find(|input| contains(input, top)).and_then(|i| needed_below(i, None, top)),
    }
}

fn contains(plan: &LogicalPlan, node: &LogicalPlan) -> bool {
    plan.exists(|found| Ok(found == node)).expect("the visitor never fails")
}

/// The plan with a placeholder in place of `top`: the columns that go through, then the calls' results.
pub(super) fn with_placeholder(
    plan: &LogicalPlan,
    top: &LogicalPlan,
    passed: &[usize],
    below: usize,
) -> Result<LogicalPlan, DataFusionError> {
    let schema = top.schema();
    let fields = passed.iter().copied().chain(below..schema.fields().len()).map(|index| {
        let (qualifier, field) = schema.qualified_field(index);
        (qualifier.cloned(), Arc::clone(field))
    });
    let fields: Vec<(Option<TableReference>, _)> = fields.collect();
    let schema = Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?);
    let leaf = LogicalPlan::Extension(Extension {
        node: Arc::new(PlaceholderNode::new(ROWS_WITH_CALLS, Arc::clone(&schema))),
    });
    let replaced = plan.clone().transform_down(|node| match &node == top {
        true => Ok(Transformed::new(leaf.clone(), true, TreeNodeRecursion::Jump)),
        false => Ok(Transformed::no(node)),
    });
    replaced
        .data()?
        .transform_up(|node| match node {
            LogicalPlan::SubqueryAlias(alias) => {
                let input = Arc::unwrap_or_clone(alias.input);
                Ok(Transformed::yes(LogicalPlanBuilder::from(input).alias(alias.alias)?.build()?))
            }
            other => Ok(Transformed::no(other.recompute_schema()?)),
        })
        .data()
}

/// Whether rows are kept by a small row number: the first, or the first few, of each key.
pub(super) fn is_filtered(plan: &LogicalPlan, top: &LogicalPlan, column: usize) -> bool {
    let is_number = |expr: &Expr, input: &LogicalPlan| traced(expr, input, top) == Some(column);
    let mut found = false;
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node
            && contains(node, top)
        {
            found |= split_conjunction(&filter.predicate).into_iter().any(|part| match part {
                Expr::BinaryExpr(comparison) => {
                    let is_literal = |expr: &Expr| matches!(without_cast(expr), Expr::Literal(..));
                    let (number, other) = match comparison.op {
                        Operator::Eq if is_literal(&comparison.left) => (&comparison.right, &comparison.left),
                        Operator::Eq | Operator::Lt | Operator::LtEq => (&comparison.left, &comparison.right),
                        Operator::Gt | Operator::GtEq => (&comparison.right, &comparison.left),
                        _ => return false,
                    };
                    is_literal(other) && is_number(number, &filter.input)
                }
                _ => false,
            });
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("the visitor never fails");
    found
}

fn without_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => without_cast(&cast.expr),
        Expr::Alias(alias) => without_cast(&alias.expr),
        other => other,
    }
}

/// The column of `top` that an expression over `input` is.
fn traced(expr: &Expr, input: &LogicalPlan, top: &LogicalPlan) -> Option<usize> {
    let Expr::Column(column) = without_cast(expr) else { return None };
    traced_column(input, input.schema().maybe_index_of_column(column)?, top)
}

fn traced_column(plan: &LogicalPlan, index: usize, top: &LogicalPlan) -> Option<usize> {
    if plan == top {
        return Some(index);
    }
    match plan {
        LogicalPlan::Projection(projection) => traced(projection.expr.get(index)?, &projection.input, top),
        LogicalPlan::Filter(filter) => traced_column(&filter.input, index, top),
        LogicalPlan::SubqueryAlias(alias) => traced_column(&alias.input, index, top),
        _ => None,
    }
}
