//! Keys that are columns of the stream: they go to the panes as they were read, past the stage.
//!
//! A text that is stored as a dictionary then never becomes a text per row.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::Column;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use thermocline_sql::{GroupColumn, WindowedShape, stream_column};

use crate::keyed::KeyedRows;

/// Which keys of an aggregate are columns of its stream, and the plan of what else it takes.
#[derive(Debug)]
pub(crate) struct GivenKeys {
    /// Of each key, the stream's column.
    columns: Vec<Option<usize>>,
    /// Of each key that is given, its field.
    pub(crate) fields: Vec<Option<FieldRef>>,
    /// From the stream to the columns that functions and other keys need.
    pub(crate) plan: LogicalPlan,
}

impl GivenKeys {
    /// Looks at the keys of a shape over a stream of `schema`.
    pub(crate) fn of(shape: &WindowedShape, schema: &SchemaRef) -> Result<Self> {
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        let mut needed: BTreeSet<Column> = BTreeSet::new();
        for group in &shape.group {
            let GroupColumn::Key(expr) = group else { continue };
            let index = match expr.clone().unalias() {
                Expr::Column(column) => shape.input.schema().maybe_index_of_column(&column),
                _ => None,
            };
            let column = index.and_then(|index| stream_column(&shape.input, index, &shape.stream));
            if column.is_none() {
                needed.extend(expr.column_refs().into_iter().cloned());
            }
            // What the plan makes of the column may be called nullable where the stream's is not.
            let field = |column: usize| {
                let nullable = index.is_some_and(|index| shape.input.schema().field(index).is_nullable());
                FieldRef::new(schema.field(column).clone().with_nullable(nullable))
            };
            fields.push(column.map(field));
            columns.push(column);
        }
        for expr in &shape.aggregates {
            needed.extend(expr.column_refs().into_iter().cloned());
        }
        let plan = match columns.iter().any(Option::is_some) {
            false => shape.input.clone(),
            true => {
                let needed = needed.into_iter().map(Expr::Column);
                LogicalPlanBuilder::from(shape.input.clone()).project(needed)?.build()?
            }
        };
        Ok(Self { columns, fields, plan })
    }

    /// The stream's columns that are keys.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().flatten().copied()
    }

    /// Puts the keys in: `column` gives a column of the stream for all rows that were read, `row_of` says which of these each
    /// row came of.
    pub(crate) fn put_in<'a>(
        &self,
        rows: &mut KeyedRows,
        row_of: &UInt32Array,
        read: usize,
        column: impl Fn(usize) -> &'a ArrayRef,
    ) -> Result<()> {
        let is_all = row_of.len() == read && row_of.values().iter().enumerate().all(|(at, row)| at == *row as usize);
        for (key, index) in self.columns.iter().enumerate() {
            let Some(index) = index else { continue };
            let values = column(*index);
            rows.give(key, if is_all { ArrayRef::clone(values) } else { take(values, row_of, None)? });
        }
        Ok(())
    }
}
