//! `RAISE WHEN NO DATA FOR`: which keys are watched, how long they may be silent, and the shape that its alert has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{EmptyRelation, Expr, Extension, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::scalar::ScalarValue;

use super::{OrderedInput, OrderedOperator, OrderedShape};
use crate::nodes::{PlaceholderNode, timestamp_type};

/// Watches keys for silence, in event time.
///
/// The input's columns are those of the alert's query and, where `has_clear`, whether the row clears the alert. What is
/// emitted has the query's columns (all may be NULL), and then `__raised` (whether the alert is raised, not cleared) and
/// `__at` (when).
#[derive(Debug, Clone)]
pub struct Absence {
    /// Columns of `KEY`, as indices into the query's columns.
    pub key: Vec<usize>,
    /// A key is silent when it was not heard for longer than this; in microseconds.
    pub interval_us: i64,
    /// Whether the input's last column says which rows clear the alert; else all do.
    pub has_clear: bool,
    /// A key that was not heard for longer than this is forgotten; in microseconds, never when `None`.
    pub forget_us: Option<i64>,
    /// The rows whose keys are watched, with the query's columns, read from reference tables; when `None`, each key is
    /// that was heard once.
    pub expected: Option<LogicalPlan>,
    /// The columns that are emitted.
    pub columns: DFSchemaRef,
}

impl Absence {
    /// Whether the alert is raised.
    pub const RAISED: &str = "__raised";
    /// When.
    pub const AT: &str = "__at";

    /// The columns that are emitted for a query with these.
    pub(crate) fn emitted(query: &DFSchema) -> Result<DFSchemaRef> {
        let nullable = |field: &Field| Arc::new(field.clone().with_nullable(true));
        let mut fields: Vec<_> = query.iter().map(|(qualifier, field)| (qualifier.cloned(), nullable(field))).collect();
        fields.push((None, Arc::new(Field::new(Self::RAISED, DataType::Boolean, false))));
        fields.push((None, Arc::new(Field::new(Self::AT, timestamp_type(), false))));
        Ok(Arc::new(DFSchema::new_with_metadata(fields, query.metadata().clone())?))
    }

    /// A row for each row of `known`, with the query's columns: those of the same name, NULL where there is none.
    pub(crate) fn rows_of(known: LogicalPlan, query: &DFSchema) -> Result<LogicalPlan> {
        let column = |field: &Arc<Field>| {
            let found = known.schema().iter().find(|(_, known)| known.name() == field.name());
            let value = match found {
                Some((qualifier, known)) => Expr::Column(Column::new(qualifier.cloned(), known.name())),
                None => lit(ScalarValue::Null),
            };
            cast(value, field.data_type().clone()).alias(field.name())
        };
        let columns: Vec<Expr> = query.fields().iter().map(column).collect();
        LogicalPlanBuilder::from(known).project(columns)?.build()
    }

    /// The one row that is watched where there is no `KEY`.
    pub(crate) fn only_row(query: &DFSchema) -> Result<LogicalPlan> {
        let schema = Arc::new(DFSchema::empty());
        Self::rows_of(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema }), query)
    }

    /// The shape of its query, which reads `stream` (with this event time) row by row through `plan`; `clear` is over the
    /// plan's columns.
    pub(crate) fn shape(
        self,
        stream: String,
        time_column: usize,
        plan: LogicalPlan,
        clear: Option<Expr>,
    ) -> Result<OrderedShape> {
        let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        columns.extend(clear.map(|clear| clear.alias("__clear")));
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        let placeholder = PlaceholderNode::new("absence", Arc::clone(&self.columns));
        let output = LogicalPlan::Extension(Extension { node: Arc::new(placeholder) });
        let inputs = vec![OrderedInput { stream, time_column, plan }];
        Ok(OrderedShape { inputs, operator: OrderedOperator::Absence(Box::new(self)), output })
    }
}
