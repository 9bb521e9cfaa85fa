//! The current rows of a view as a table of an ad-hoc query; a condition on the first columns of the key finds its rows without
//! looking at the others.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::current::CurrentRows;

/// A view as a table.
#[derive(Debug)]
pub(crate) struct CurrentTable(pub(crate) Arc<CurrentRows>);

#[async_trait]
impl TableProvider for CurrentTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They find rows; the filter still runs above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.0.schema().fields().len()).collect());
        let schema = Arc::new(self.0.schema().project(&columns)?);
        let rows = self.0.read(&columns, &self.first_of_key(filters));
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(DataSourceExec::from_data_source(MemorySourceConfig::try_new(&[rows], schema, None)?))
    }
}

impl CurrentTable {
    /// The values that the conditions ask for of the first columns of the key, each as an array of one.
    fn first_of_key(&self, filters: &[Expr]) -> Vec<ArrayRef> {
        let schema = self.0.schema();
        let asked = |column: &usize| {
            let field = schema.field(*column);
            let value = filters.iter().find_map(|filter| value_of(filter, field.name()))?;
            let is_usable = !value.is_null() && value.data_type() == *field.data_type();
            value.to_array().ok().filter(|_| is_usable)
        };
        self.0.key().iter().map_while(asked).collect()
    }
}

/// The literal that a condition says the column is equal to.
fn value_of<'a>(condition: &'a Expr, name: &str) -> Option<&'a datafusion::scalar::ScalarValue> {
    let Expr::BinaryExpr(comparison) = condition else { return None };
    match (&*comparison.left, comparison.op, &*comparison.right) {
        (Expr::Column(column), Operator::Eq, Expr::Literal(value, _))
        | (Expr::Literal(value, _), Operator::Eq, Expr::Column(column)) => (column.name == name).then_some(value),
        _ => None,
    }
}
