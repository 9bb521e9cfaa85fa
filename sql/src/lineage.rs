//! Where a column of a plan comes from.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use crate::nodes::WindowNode;

/// Where a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A column of a table, unchanged.
    Table {
        /// The table.
        table: String,
        /// Index in the table's schema.
        column: usize,
    },
    /// Made by a window function: `window_start`, `window_end` or `window_time`.
    Window(String),
    /// Computed.
    Computed,
}

/// The origin of the plan's output column `index`.
pub(crate) fn origin(plan: &LogicalPlan, index: usize) -> Origin {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let column = scan.projection.as_ref().map_or(Some(index), |columns| columns.get(index).copied());
            column.map_or(Origin::Computed, |column| Origin::Table { table: scan.table_name.table().into(), column })
        }
        LogicalPlan::Projection(projection) => of_expr(projection.expr.get(index), &projection.input),
        LogicalPlan::Aggregate(aggregate) => of_expr(aggregate.group_expr.get(index), &aggregate.input),
        LogicalPlan::Filter(filter) => origin(&filter.input, index),
        LogicalPlan::Sort(sort) => origin(&sort.input, index),
        LogicalPlan::Limit(limit) => origin(&limit.input, index),
        LogicalPlan::Repartition(repartition) => origin(&repartition.input, index),
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, index),
        LogicalPlan::Subquery(subquery) => origin(&subquery.subquery, index),
        LogicalPlan::Distinct(Distinct::All(input)) => origin(input, index),
        LogicalPlan::Distinct(Distinct::On(distinct)) => of_expr(distinct.select_expr.get(index), &distinct.input),
        LogicalPlan::Window(window) if index < window.input.schema().fields().len() => origin(&window.input, index),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti => origin(&join.right, index),
                _ if index < left => origin(&join.left, index),
                _ => origin(&join.right, index - left),
            }
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowNode>() {
            Some(node) if index < node.input.schema().fields().len() => origin(&node.input, index),
            Some(_) => Origin::Window(plan.schema().field(index).name().clone()),
            None => Origin::Computed,
        },
        _ => Origin::Computed,
    }
}

fn of_expr(expr: Option<&Expr>, input: &LogicalPlan) -> Origin {
    match expr {
        Some(Expr::Alias(alias)) => of_expr(Some(&alias.expr), input),
        Some(Expr::Column(column)) => match input.schema().maybe_index_of_column(column) {
            Some(index) => origin(input, index),
            None => Origin::Computed,
        },
        _ => Origin::Computed,
    }
}

/// Calls `visit` with every window function of the plan, subqueries included.
pub(crate) fn for_each_window(plan: &LogicalPlan, mut visit: impl FnMut(&WindowNode)) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = node
            && let Some(window) = extension.node.as_any().downcast_ref::<WindowNode>()
        {
            visit(window);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The tables that a plan reads, each once, in the order they stand.
pub(crate) fn tables(plan: &LogicalPlan) -> Result<Vec<String>> {
    let mut tables = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let table = scan.table_name.table().to_owned();
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}
