//! The expressions of an alert, over the rows of its query. A row that one fails on is an answer too: its neighbours are
//! not touched by it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::Result;
use crate::query::{FailedRow, evaluate_rows};
use crate::session::physical_expr;

/// An expression over one row.
#[derive(Debug)]
pub(super) struct RowExpression(Arc<dyn PhysicalExpr>);

impl RowExpression {
    pub(super) fn compile(expr: &Expr, schema: &DFSchema) -> Result<Self> {
        Ok(Self(physical_expr(expr, schema)?))
    }

    fn evaluate(&self, rows: &RecordBatch, range: &Range<usize>) -> DataFusionResult<arrow::array::ArrayRef> {
        self.0.evaluate(&rows.slice(range.start, range.len()))?.into_array(range.len())
    }

    /// Of each row; `None` where it is NULL or fails.
    pub(super) fn conditions(&self, rows: &RecordBatch) -> Result<(Vec<Option<bool>>, Vec<FailedRow>)> {
        evaluate_rows(rows.num_rows(), |range| Ok(self.evaluate(rows, &range)?.as_boolean().iter().collect()))
    }

    /// Of each row; `None` where it is NULL or fails.
    pub(super) fn texts(&self, rows: &RecordBatch) -> Result<(Vec<Option<String>>, Vec<FailedRow>)> {
        evaluate_rows(rows.num_rows(), |range| {
            let texts = cast(&self.evaluate(rows, &range)?, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            Ok((0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row).to_owned())).collect())
        })
    }
}
