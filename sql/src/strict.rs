//! What would fail at the first unlucky row only. Conversions that DataFusion would make without saying so: text is not
//! read as a number, a time or a condition unless a `CAST` says so; literals are converted when the query is planned. And
//! constants that a function cannot be called with.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, Span};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::scalar::ScalarValue;

use crate::functions;
use crate::types::{is_text, sql_name};

/// A conversion that was not asked for, or a misuse.
pub(crate) struct Conversion {
    /// From the first to the last column it is about.
    pub(crate) at: Option<Span>,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

const HINT: Option<&str> = Some("CAST(… AS type) converts between types");

/// The conversions that type coercion would put into a plan, which is not analysed yet.
pub(crate) fn conversions(plan: &LogicalPlan) -> Vec<Conversion> {
    let mut found = Vec::new();
    let outcome: Result<TreeNodeRecursion> = plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found.extend(conversion(expr, &schema));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    // The visitors never fail.
    let _ = outcome;
    found
}

fn conversion(expr: &Expr, schema: &DFSchema) -> Option<Conversion> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            let (from, to) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
            let text_side = if is_text(&from) { left } else { right };
            if is_text(&from) == is_text(&to) || from.is_null() || to.is_null() {
                return None;
            }
            let other = if is_text(&from) { &to } else { &from };
            if literal(text_side).is_some_and(|text| text.cast_to(other).is_ok()) {
                return None;
            }
            let message = format!("the operator {op} does not take {} and {}", sql_name(&from), sql_name(&to));
            Some(Conversion { at: place(expr), message, hint: HINT })
        }
        Expr::Case(case) if case.expr.is_none() => case.when_then_expr.iter().find_map(|(when, _)| {
            let data_type = when.get_type(schema).ok()?;
            let message = format!("WHEN takes a condition, found {}", sql_name(&data_type));
            let is_condition = matches!(data_type, DataType::Boolean | DataType::Null);
            (!is_condition).then(|| Conversion { at: place(when), message, hint: HINT })
        }),
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => {
            functions::misuse(expr, schema).map(|message| Conversion { at: place(expr), message, hint: None })
        }
        _ => None,
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}

fn place(expr: &Expr) -> Option<Span> {
    let mut spans = Vec::new();
    // The visitor never fails.
    let _ = expr.apply(|inner| {
        if let Expr::Column(column) = inner {
            spans.extend(column.spans().first());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    Span::union_iter(spans)
}
