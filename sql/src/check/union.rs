//! `SELECT … UNION ALL SELECT …` of streams: each branch runs by itself, as a query of its own into the same target.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};

/// The queries that a query is: the branches of `UNION ALL`, with what is done to the rows of all of them; otherwise itself.
pub(super) fn branches(plan: &LogicalPlan) -> Result<Vec<LogicalPlan>> {
    match plan {
        LogicalPlan::Union(union) => {
            let mut all = Vec::new();
            for input in &union.inputs {
                for branch in branches(input)? {
                    all.push(named_as(with_qualifiers(branch)?, plan)?);
                }
            }
            Ok(all)
        }
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            let below = branches(plan.inputs()[0])?;
            if below.len() == 1 {
                return Ok(vec![plan.clone()]);
            }
            let above = |branch| plan.with_new_exprs(plan.expressions(), vec![branch]);
            below.into_iter().map(above).collect()
        }
        other => Ok(vec![other.clone()]),
    }
}

/// The coercion of a branch's types names its columns without their qualifiers, which the optimizer loses track of.
fn with_qualifiers(branch: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = branch else { return Ok(branch) };
    let qualified = |expr: Expr| {
        let qualified = expr.transform_up(|expr| match expr {
            Expr::Column(Column { relation: None, name, .. }) => {
                let (qualifier, field) = input.schema().qualified_field_with_unqualified_name(&name)?;
                Ok(Transformed::yes(Expr::Column(Column::new(qualifier.cloned(), field.name()))))
            }
            other => Ok(Transformed::no(other)),
        });
        qualified.data()
    };
    let exprs = expr.into_iter().map(qualified).collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&input))?))
}

/// The branch with the names of the union's columns.
fn named_as(branch: LogicalPlan, union: &LogicalPlan) -> Result<LogicalPlan> {
    let columns = branch.schema().columns();
    let names = union.schema().iter();
    let exprs = columns
        .into_iter()
        .zip(names)
        .map(|(column, (qualifier, field))| Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()));
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::new_from_arc(Arc::new(branch)).project(exprs)?.build()
}
