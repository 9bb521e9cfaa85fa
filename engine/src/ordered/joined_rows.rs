//! Rows of two inputs side by side: what a join emits, and the condition that it is asked.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use thermocline_sql::JoinedRows as Parts;

use super::rows::RowStore;
use crate::error::Result;
use crate::query::{FailedRow, evaluate_rows};
use crate::session::physical_expr;

/// The columns of joined rows.
#[derive(Debug)]
pub(crate) struct JoinedRows {
    schema: SchemaRef,
    /// Where each input's columns are in it.
    columns: [Vec<usize>; 2],
}

impl JoinedRows {
    pub(crate) fn new(parts: &Parts) -> Self {
        let columns = parts.columns.map(|count| (parts.keys..parts.keys + count).collect());
        Self { schema: Arc::clone(parts.schema.inner()), columns }
    }

    /// The rows with these numbers, side by side.
    pub(crate) fn output(&self, stores: [&RowStore; 2], rows: &[(u64, u64)]) -> Result<RecordBatch> {
        let mut columns = stores[0].gather(&self.columns[0], rows.iter().map(|(left, _)| *left))?;
        columns.extend(stores[1].gather(&self.columns[1], rows.iter().map(|(_, right)| *right))?);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// A condition over joined rows; it looks at the columns it needs alone.
#[derive(Debug)]
pub(crate) struct Residual {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// Where the columns of each input are in it.
    columns: [Vec<usize>; 2],
}

impl Residual {
    pub(crate) fn try_new(expr: &Expr, parts: &Parts, rows: &JoinedRows) -> Result<Self> {
        let expr = physical_expr(expr, &parts.schema)?;
        let mut used: Vec<usize> = collect_columns(&expr).iter().map(Column::index).collect();
        used.sort_unstable();
        let expr = expr.transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let index = used.binary_search(&column.index()).expect("collected from the same expression");
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), index));
            Ok::<_, DataFusionError>(Transformed::yes(column))
        });
        let expr = expr.data()?;
        let fields = used.iter().map(|i| parts.schema.field(*i).as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let of_left = rows.columns[0].len();
        let (left, right): (Vec<usize>, Vec<usize>) = used.iter().partition(|i| **i < of_left);
        let left = left.into_iter().map(|i| rows.columns[0][i]).collect();
        let right = right.into_iter().map(|i| rows.columns[1][i - of_left]).collect();
        Ok(Self { expr, schema, columns: [left, right] })
    }

    /// Whether it holds for each pair; NULL does not, and neither does a failure. Gives the pairs that it fails on.
    pub(crate) fn evaluate(
        &self,
        stores: [&RowStore; 2],
        pairs: &[(u64, u64)],
        holds: &mut Vec<bool>,
    ) -> Result<Vec<FailedRow>> {
        let mut columns: Vec<ArrayRef> = stores[0].gather(&self.columns[0], pairs.iter().map(|(left, _)| *left))?;
        columns.extend(stores[1].gather(&self.columns[1], pairs.iter().map(|(_, right)| *right))?);
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let (found, failed) = evaluate_rows(pairs.len(), |range| {
            let count = range.len();
            let found = self.expr.evaluate(&batch.slice(range.start, count))?.into_array(count)?;
            let found = found.as_boolean();
            Ok((0..count).map(|i| found.is_valid(i) && found.value(i)).collect())
        })?;
        holds.extend(found);
        Ok(failed)
    }
}
