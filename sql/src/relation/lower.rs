//! The window columns of a window's input: they make way for those of the window, as `input_window_start` and so on.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::lineage::{self, Origin};
use crate::nodes::WINDOW_COLUMNS;

/// The input with its own window columns renamed, and its time column. Columns that are only called like one stay.
pub(super) fn renamed(input: LogicalPlan, time: Column) -> Result<(LogicalPlan, Column)> {
    let schema = input.schema();
    let is_lower =
        |index: usize| WINDOW_COLUMNS.contains(&schema.field(index).name().as_str()) && is_own(&input, index);
    if !(0..schema.fields().len()).any(is_lower) {
        return Ok((input, time));
    }
    let at = schema.maybe_index_of_column(&time);
    let columns = schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match is_lower(index) {
            true => column.alias_qualified(qualifier.cloned(), format!("input_{}", field.name())),
            false => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    let renamed = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    let time = match at {
        Some(at) => Column { spans: time.spans, ..renamed.schema().columns()[at].clone() },
        None => time,
    };
    Ok((renamed, time))
}

/// Whether a column has come by its name from a window, or from a table.
fn is_own(plan: &LogicalPlan, index: usize) -> bool {
    match lineage::origin(plan, index) {
        Origin::Window(name) => name == *plan.schema().field(index).name(),
        Origin::Table { table, column } => {
            let is_named_so = |node: &LogicalPlan| match node {
                LogicalPlan::TableScan(scan) if scan.table_name.table() == table => {
                    scan.source.schema().field(column).name() == plan.schema().field(index).name()
                }
                _ => false,
            };
            plan.exists(|node| Ok(is_named_so(node))).expect("the visitor never fails")
        }
        Origin::Computed => false,
    }
}
