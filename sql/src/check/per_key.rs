//! Watermarks `PER` key: where the rows of a key are, and whether a query keeps the keys apart.
//!
//! Each key closes its own windows, so nothing of a query may need rows of several keys: what groups or partitions rows has
//! the key's columns, and what stands above goes row by row.

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::Checker;
use crate::ast::{CreateAlert, CreateStream, Statement};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lineage::{Origin, origin};
use crate::shape::{
    GroupColumn, OrderedOperator, OrderedShape, QueryShape, ShapeError, WindowedShape, check_row_by_row_output,
};

impl Checker {
    /// The columns of `PER`; none where there are mistakes, which are reported.
    pub(super) fn watermark_key(
        &mut self,
        statement: &Statement,
        stream: &CreateStream,
        schema: &SchemaRef,
        partition_by: &[String],
    ) -> Vec<usize> {
        let Some(per) = stream.watermark.as_ref().and_then(|watermark| watermark.per.as_ref()) else {
            return Vec::new();
        };
        let key = self.columns_named(statement, &per.columns, schema);
        if key.len() < per.columns.len() || partition_by.len() < stream.partition_by.len() {
            return Vec::new();
        }
        let stray = partition_by.iter().find(|column| !key.contains(column));
        let (message, hint) = match stray {
            None if !partition_by.is_empty() => {
                return key.iter().map(|name| schema.index_of(name).expect("columns that exist")).collect();
            }
            None => (
                "the rows of a key would not stay in one partition".to_owned(),
                format!("add PARTITION BY ({}) behind the columns", key.join(", ")),
            ),
            Some(stray) => (
                format!("rows of one key with another \"{stray}\" would be in other partitions"),
                format!("write PARTITION BY ({0}), or PER ({0}, {stray})", key.join(", ")),
            ),
        };
        self.found.push(Diagnostic::error(codes::WATERMARK_KEY, statement.span(per.at), message).hint(hint));
        Vec::new()
    }

    /// The columns of a stream's `PER`; none where there is one watermark for each partition.
    pub(super) fn watermark_key_of(&self, stream: &str) -> &[usize] {
        let event_time = self.pipeline.streams.get(stream).and_then(|stream| stream.event_time.as_ref());
        event_time.map_or(&[], |event_time| &event_time.key)
    }

    /// The shape, where it keeps the keys of its streams' watermarks apart.
    pub(super) fn keyed_by_the_watermark(
        &self,
        shape: QueryShape,
        plan: &LogicalPlan,
    ) -> Result<QueryShape, ShapeError> {
        match &shape {
            QueryShape::Stateless { .. } => {}
            QueryShape::Windowed(windowed) => self.windowed_by_key(windowed)?,
            QueryShape::Ordered(ordered) => self.ordered_by_key(ordered, plan)?,
        }
        Ok(shape)
    }

    fn windowed_by_key(&self, shape: &WindowedShape) -> Result<(), ShapeError> {
        if self.watermark_key_of(&shape.stream).is_empty() {
            return Ok(());
        }
        self.has_key(&shape.stream, &keys(&shape.group), &shape.input, "GROUP BY")?;
        row_by_row(&shape.output)
    }

    fn ordered_by_key(&self, shape: &OrderedShape, plan: &LogicalPlan) -> Result<(), ShapeError> {
        let Some(input) = shape.inputs.iter().find(|input| !self.watermark_key_of(&input.stream).is_empty()) else {
            return Ok(());
        };
        match &shape.operator {
            OrderedOperator::Window(window) => {
                self.has_key(&input.stream, &keys(&window.aggregate.group), &input.plan, "GROUP BY")?;
                row_by_row(&shape.output)
            }
            OrderedOperator::Over(over) => {
                let is_distinct = |node: &LogicalPlan| Ok(matches!(node, LogicalPlan::Distinct(_)));
                let is_distinct = plan.exists(is_distinct).expect("the visitor never fails");
                let clause = if is_distinct { "DISTINCT ON" } else { "PARTITION BY" };
                over.calls.iter().try_for_each(|call| {
                    let keys: Vec<&Expr> = call.partition.keys.iter().collect();
                    self.has_key(&input.stream, &keys, &input.plan, clause)
                })
            }
            // Silence is told by how far the others have got: by the watermark of all keys.
            OrderedOperator::Absence(_) => Ok(()),
            OrderedOperator::Join(_) | OrderedOperator::AsOfJoin(_) => Err(ShapeError {
                code: codes::KEY_JOIN.id,
                message: format!(
                    "the stream \"{}\" has a watermark per key, and a join of streams goes by one for all keys",
                    input.stream
                ),
                hint: "a stream that is joined with another needs a watermark without PER".into(),
            }),
        }
    }

    /// Whether all columns of a stream's `PER` are among these keys, over the output of `input`.
    fn has_key(&self, stream: &str, keys: &[&Expr], input: &LogicalPlan, clause: &str) -> Result<(), ShapeError> {
        let origins: Vec<Origin> = keys.iter().filter_map(|key| origin_of(key, input)).collect();
        let missing = self.missing(stream, &origins);
        let Some(first) = missing.first() else { return Ok(()) };
        Err(ShapeError {
            code: codes::KEY_MISSING.id,
            message: format!(
                "the stream \"{stream}\" has a watermark per key, and this would mix rows of several keys"
            ),
            hint: match missing.len() {
                1 => format!("add \"{first}\" of the stream, unchanged, to {clause}"),
                _ => format!("add {} of the stream, unchanged, to {clause}", missing.join(", ")),
            },
        })
    }

    /// Names of the columns of a stream's `PER` that are not among these.
    fn missing(&self, stream: &str, origins: &[Origin]) -> Vec<String> {
        let Some(definition) = self.pipeline.streams.get(stream) else { return Vec::new() };
        let is_missing = |column: &&usize| {
            let of_stream = Origin::Table { table: stream.to_owned(), column: **column };
            !origins.contains(&of_stream)
        };
        let missing = self.watermark_key_of(stream).iter().filter(is_missing);
        missing.map(|column| definition.schema.field(*column).name().clone()).collect()
    }

    /// Reports an alert whose instances would see rows of several keys, in no order.
    pub(super) fn alert_has_the_watermark_key(
        &mut self,
        statement: &Statement,
        alert: &CreateAlert,
        shape: &QueryShape,
        plan: &LogicalPlan,
        key: &[usize],
    ) {
        if matches!(shape, QueryShape::Stateless { .. }) || key.len() < alert.key.len() {
            return;
        }
        let origins: Vec<Origin> = key.iter().map(|index| origin(plan, *index)).collect();
        let Some(stream) = shape.streams().first().map(|stream| (*stream).to_owned()) else { return };
        let missing = self.missing(&stream, &origins);
        if missing.is_empty() {
            return;
        }
        let message = format!("the stream \"{stream}\" has a watermark per key: rows of several keys come in no order");
        let at = alert.key.last().map_or(alert.name.span, |last| last.span);
        let hint = format!("add {} of the stream to KEY (…)", missing.join(", "));
        self.found.push(Diagnostic::error(codes::KEY_ALERT, statement.span(at), message).hint(hint));
    }
}

fn keys(group: &[GroupColumn]) -> Vec<&Expr> {
    group
        .iter()
        .filter_map(|column| match column {
            GroupColumn::Key(expr) => Some(expr),
            _ => None,
        })
        .collect()
}

fn origin_of(expr: &Expr, input: &LogicalPlan) -> Option<Origin> {
    let Expr::Column(column) = expr.clone().unalias_nested().data else { return None };
    Some(origin(input, input.schema().maybe_index_of_column(&column)?))
}

fn row_by_row(output: &LogicalPlan) -> Result<(), ShapeError> {
    check_row_by_row_output(output, "a window").map_err(|_| ShapeError {
        code: codes::KEY_ROW_BY_ROW.id,
        message:
            "with a watermark per key a window closes key by key: there is no set of rows to sort, limit or aggregate"
                .into(),
        hint: "INSERT its rows into a stream and aggregate that over a TUMBLE window".into(),
    })
}
