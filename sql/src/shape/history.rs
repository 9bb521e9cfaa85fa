//! Windows that rows make, over rows that have an end: ad-hoc queries.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::functions::core::expr_fn::{get_field, named_struct};
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, lit};

use super::ShapeError;
use super::analysis::{
    Analysis, Result, find_window, group_columns, internal, is_aligned, references_window, window_column,
    window_in_expression, window_node, without_aggregate, without_window,
};
use super::ordered::{keyed_window, mark};
use crate::nodes::KeyedWindowNode;

/// The type-checked plan with each aggregate over a `SESSION`, `COUNT_WINDOW` or `STATE_WINDOW` as a
/// [`KeyedWindowNode`]; `None` when it has no such window.
pub(crate) fn over_history(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if !has_keyed_window(plan) {
        return Ok(None);
    }
    let mut mistake = None;
    let rewritten = plan.clone().transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        let Some(window) = find_window(&aggregate.input).filter(|window| !is_aligned(&window.window)) else {
            return Ok(Transformed::no(node));
        };
        match keyed(&node, aggregate, &window.window) {
            Ok(keyed) => Ok(Transformed::yes(keyed)),
            Err(error) => {
                mistake.get_or_insert(error);
                Ok(Transformed::new(node, false, TreeNodeRecursion::Stop))
            }
        }
    });
    let rewritten = rewritten.data().map_err(|error| internal(&error))?;
    match mistake {
        Some(mistake) => Err(mistake),
        None if has_keyed_window(&rewritten) => Err(without_aggregate()),
        None => Ok(Some(rewritten)),
    }
}

fn too_far_above() -> ShapeError {
    ShapeError {
        code: "TC0308",
        message: "between this window and the aggregate over it stands more than WHERE, columns and joins".into(),
        hint: "aggregate the window in a subquery, and go on above it".into(),
    }
}

fn has_keyed_window(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // The visitor never fails.
    let _ = plan.apply_with_subqueries(|node| {
        found |= window_node(node).is_some_and(|window| !is_aligned(&window.window));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

fn keyed(node: &LogicalPlan, aggregate: &Aggregate, function: &super::WindowFunction) -> Result<LogicalPlan> {
    let analysis = Analysis { is_stream: &|_| true, event_time: &|_| None };
    let columns = analysis.input_window_columns(&aggregate.input).map_err(|error| match error.code {
        "TC0308" => error,
        _ => too_far_above(),
    })?;
    let group = group_columns(aggregate, &columns)?;
    if aggregate.aggr_expr.iter().any(|expr| references_window(expr, aggregate.input.schema(), &columns)) {
        return Err(window_in_expression("an aggregate's argument"));
    }
    let cut = || -> std::result::Result<LogicalPlan, DataFusionError> {
        // The time of a row is carried beside its mark: the columns between may be cut down.
        let input = without_window((*aggregate.input).clone(), &|window| {
            let time = Expr::Column(window.time.clone());
            Ok(named_struct(vec![lit("time"), time, lit("mark"), mark(&window.window)?]))
        })?;
        let carried = window_column(aggregate, &group).unalias();
        let (time, mark) = (get_field(carried.clone(), "time"), get_field(carried, "mark"));
        let (input, window) =
            keyed_window(input, function, mark, Some(time), group.clone(), aggregate.aggr_expr.clone())?;
        let node = KeyedWindowNode::new(input, window, Arc::clone(node.schema()));
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    };
    cut().map_err(|error: DataFusionError| -> ShapeError { internal(&error) })
}
