//! Which queries share panes: those that aggregate the same rows by the same keys in the same windows, and go on at the same
//! place. Their rows are read, sorted and added up once; each has its own result, state in the log and name.

use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use thermocline_sql::{Early, Emit, GroupColumn, QueryShape, WindowedShape};

use super::member::ResumePoint;

/// What has to be equal.
#[derive(Debug, PartialEq)]
pub(crate) struct SharedInput<'a> {
    input: &'a LogicalPlan,
    window: String,
    time_column: usize,
    group: &'a [GroupColumn],
    resume: ResumePoint,
}

impl<'a> SharedInput<'a> {
    /// What a query would share; `None` where it runs by itself. An expression that fails on a row takes the row from the
    /// query, and must not take it from others: only plain columns are shared.
    pub(crate) fn of(shape: &'a QueryShape, emit: Emit, resume: ResumePoint) -> Option<Self> {
        let QueryShape::Windowed(shape) = shape else { return None };
        let is_final = emit.early == Early::Nothing && emit.lateness_us == 0;
        let keys_are_plain = shape.group.iter().all(|group| match group {
            GroupColumn::Key(expr) => is_plain(expr),
            _ => true,
        });
        let is_shared = is_final && keys_are_plain && shape.aggregates.iter().all(takes_columns_only);
        let window = format!("{:?}", shape.window);
        is_shared.then_some(Self {
            input: &shape.input,
            window,
            time_column: shape.time_column,
            group: &shape.group,
            resume,
        })
    }
}

fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_plain(&alias.expr),
        Expr::Column(_) | Expr::Literal(..) => true,
        _ => false,
    }
}

fn takes_columns_only(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => takes_columns_only(&alias.expr),
        Expr::AggregateFunction(AggregateFunction { params, .. }) => {
            params.args.iter().all(is_plain) && params.filter.is_none() && params.order_by.is_empty()
        }
        _ => false,
    }
}

/// The shape that computes what all of `shapes` need, and for each of them the columns of its result that are its own.
pub(crate) fn union(shapes: &[&WindowedShape]) -> (WindowedShape, Vec<Vec<usize>>) {
    let mut all = shapes[0].clone();
    let groups = all.group.len();
    all.aggregates.clear();
    let mut columns = Vec::new();
    for shape in shapes {
        let mut own: Vec<usize> = (0..groups).collect();
        for aggregate in &shape.aggregates {
            let aggregate = aggregate.clone().unalias();
            let known = all.aggregates.iter().position(|known| *known == aggregate);
            own.push(groups + known.unwrap_or(all.aggregates.len()));
            if known.is_none() {
                all.aggregates.push(aggregate);
            }
        }
        columns.push(own);
    }
    (all, columns)
}
