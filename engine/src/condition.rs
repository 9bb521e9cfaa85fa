//! The part of a stage that the log may go by while it reads: a filter right above its source.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use thermocline_log::RowCondition;

/// A filter as a condition on rows of a stream.
#[derive(Debug)]
struct FilterCondition {
    /// Columns of the stream.
    columns: Vec<usize>,
    /// Over these columns.
    predicate: Arc<dyn PhysicalExpr>,
}

impl RowCondition for FilterCondition {
    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn holds(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let failed = |error| ArrowError::ExternalError(Box::new(error));
        let value = self.predicate.evaluate(rows).map_err(failed)?;
        Ok(value.into_array(rows.num_rows()).map_err(failed)?.as_boolean().clone())
    }
}

/// The condition of a plan whose only leaf is a scan: `column_of` gives the stream's column of each column scanned, `None`
/// where it has none. `None` where rows that it left out could have been missed: a filter that fails on a row has to see it.
pub(crate) fn condition_of(
    plan: &Arc<dyn ExecutionPlan>,
    column_of: impl Fn(usize) -> Option<usize>,
) -> Option<Arc<dyn RowCondition>> {
    let filter = filter_above_scan(plan)?;
    let predicate = filter.predicate();
    if !never_fails(predicate) {
        return None;
    }
    let mut columns = Vec::new();
    let over_stream = Arc::clone(predicate).transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let Some(of_stream) = column_of(column.index()) else {
            return datafusion::common::internal_err!("{} is no column of the stream", column.name());
        };
        let at = columns.iter().position(|known| *known == of_stream).unwrap_or_else(|| {
            columns.push(of_stream);
            columns.len() - 1
        });
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>))
    });
    let predicate = over_stream.data().ok()?;
    (!columns.is_empty()).then(|| Arc::new(FilterCondition { columns, predicate }) as Arc<dyn RowCondition>)
}

fn filter_above_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FilterExec> {
    let [input] = plan.children()[..] else { return None };
    match plan.downcast_ref::<FilterExec>() {
        Some(filter) if is_scan(input) => Some(filter),
        Some(_) => None,
        None if plan.name() == "ProjectionExec" || passes_through(plan) => filter_above_scan(input),
        None => None,
    }
}

fn is_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children()[..] {
        [] => plan.name() == "StreamingTableExec",
        [input] => passes_through(plan) && is_scan(input),
        _ => false,
    }
}

/// Whether a plan hands on the rows of its input as they are.
fn passes_through(plan: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(plan.name(), "CoalesceBatchesExec" | "CooperativeExec")
}

/// Whether an expression has a result for all values.
fn never_fails(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let itself = expr.downcast_ref::<Column>().is_some()
        || expr.downcast_ref::<Literal>().is_some()
        || expr.downcast_ref::<IsNullExpr>().is_some()
        || expr.downcast_ref::<IsNotNullExpr>().is_some()
        || expr.downcast_ref::<NotExpr>().is_some()
        || expr.downcast_ref::<InListExpr>().is_some()
        || expr.downcast_ref::<BinaryExpr>().is_some_and(|expr| is_comparison(*expr.op()));
    itself && expr.children().into_iter().all(never_fails)
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    matches!(operator, And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
