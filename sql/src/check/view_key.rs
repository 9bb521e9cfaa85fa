//! The key of a materialized view: the columns of which its query gives one row for each set of values.
//!
//! Of an aggregate these are the columns it groups by, of which one is enough of those that say which window it is; of the first
//! rows of each key, that key. Other rows have none: every one stays.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, Expr, Join, JoinType, LogicalPlan, Operator, WindowFunctionDefinition};

use crate::lineage::{self, Origin};
use crate::nodes::WINDOW_COLUMNS;
use crate::shape::{CalendarExtent, OrderedOperator, QueryShape, Window};

/// What the window's part of a key is called.
pub(super) const WINDOW: &str = "window_end";

/// Why a view has no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoKey {
    /// This column of it is not among the view's.
    Missing(String),
    /// One row of the key becomes several.
    Multiplied,
}

/// One part of a key and the columns that have it, any of them.
#[derive(Debug, Clone)]
struct Part {
    name: String,
    at: Vec<usize>,
}

type Parts = Option<Vec<Part>>;

/// The key of a query's rows, as indices of its columns; empty where every row stays.
pub(super) fn of(
    shape: &QueryShape,
    plan: &LogicalPlan,
    primary_key: &impl Fn(&str) -> Vec<String>,
) -> Result<Vec<usize>, NoKey> {
    let window_columns = match shape {
        QueryShape::Stateless { .. } => return Ok(Vec::new()),
        QueryShape::Ordered(shape)
            if !matches!(shape.operator, OrderedOperator::Window(_) | OrderedOperator::Over(_)) =>
        {
            return Ok(Vec::new());
        }
        // Cumulating windows begin together.
        QueryShape::Windowed(shape) if cumulates(&shape.window) => &WINDOW_COLUMNS[1..],
        _ => &WINDOW_COLUMNS[..],
    };
    let finder = Finder { window_columns, primary_key };
    let Some(mut parts) = finder.parts(plan)? else { return Ok(Vec::new()) };
    // The window last: what is asked for is mostly one device.
    parts.sort_by_key(|part| part.name == WINDOW);
    let mut key = Vec::new();
    for part in parts {
        match part.at.first() {
            Some(column) if !key.contains(column) => key.push(*column),
            Some(_) => {}
            None => return Err(NoKey::Missing(part.name)),
        }
    }
    Ok(key)
}

fn cumulates(window: &Window) -> bool {
    match window {
        Window::Cumulate { .. } => true,
        Window::Calendar(window) => matches!(window.extent, CalendarExtent::Cumulated(_)),
        _ => false,
    }
}

struct Finder<'a, P> {
    window_columns: &'a [&'static str],
    primary_key: &'a P,
}

impl<P: Fn(&str) -> Vec<String>> Finder<'_, P> {
    fn parts(&self, plan: &LogicalPlan) -> Result<Parts, NoKey> {
        match plan {
            LogicalPlan::Aggregate(_) => Ok(Some(self.grouped(plan, plan.schema().fields().len()))),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                Ok(self.parts(input)?.map(|_| self.all(plan, plan.schema().fields().len())))
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                let at = |expr: &Expr| positions(&distinct.select_expr, |other| other == expr);
                let on = distinct.on_expr.iter();
                Ok(Some(on.map(|expr| Part { name: expr.schema_name().to_string(), at: at(expr) }).collect()))
            }
            LogicalPlan::Projection(projection) => {
                let schema = projection.input.schema();
                let below = self.parts(&projection.input)?;
                Ok(moved(below, |index| {
                    positions(&projection.expr, |expr| match expr {
                        Expr::Column(column) => schema.maybe_index_of_column(column) == Some(index),
                        _ => false,
                    })
                }))
            }
            LogicalPlan::Filter(filter) => match self.parts(&filter.input)? {
                None => Ok(first_of_key(&filter.predicate, &filter.input)),
                known => Ok(known),
            },
            LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_) => {
                self.parts(plan.inputs()[0])
            }
            LogicalPlan::Join(join) => self.joined(join),
            LogicalPlan::Unnest(unnest) => match self.parts(&unnest.input)? {
                Some(_) => Err(NoKey::Multiplied),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The grouping columns of an aggregate over windows.
    fn grouped(&self, plan: &LogicalPlan, columns: usize) -> Vec<Part> {
        let groups = match plan {
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.len(),
            _ => columns,
        };
        self.all(plan, groups)
    }

    /// The first columns of a plan as a key.
    fn all(&self, plan: &LogicalPlan, columns: usize) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut window = Part { name: WINDOW.to_owned(), at: Vec::new() };
        let mut is_windowed = false;
        for column in 0..columns {
            match lineage::origin(plan, column) {
                Origin::Window(name) => {
                    is_windowed = true;
                    if self.window_columns.contains(&name.as_str()) {
                        window.at.push(column);
                    }
                }
                _ => parts.push(Part { name: plan.schema().field(column).name().clone(), at: vec![column] }),
            }
        }
        parts.extend(is_windowed.then_some(window));
        parts
    }

    /// A row stays one where the other side has at most one for it.
    fn joined(&self, join: &Join) -> Result<Parts, NoKey> {
        let left = join.left.schema().fields().len();
        let (parts, other, shift) = match (self.parts(&join.left)?, self.parts(&join.right)?) {
            (Some(parts), None) => (parts, &join.right, 0),
            (None, Some(parts)) => (parts, &join.left, left),
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(NoKey::Multiplied),
        };
        let keeps_one_side =
            !matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
        if keeps_one_side {
            return Ok(Some(parts));
        }
        let compared = compared_columns(join, other);
        let tables = lineage::tables(other).unwrap_or_default();
        let primary_key = tables.first().map(|table| (self.primary_key)(table)).unwrap_or_default();
        let is_one = tables.len() == 1 && !primary_key.is_empty() && primary_key.iter().all(|c| compared.contains(c));
        match is_one {
            true => Ok(moved(Some(parts), |index| vec![index + shift])),
            false => Err(NoKey::Multiplied),
        }
    }
}

/// The names of the columns of one side of a join that are equal to something of the other side.
fn compared_columns(join: &Join, side: &LogicalPlan) -> Vec<String> {
    let of_side = |expr: &Expr| match expr {
        Expr::Column(column) => side.schema().maybe_index_of_column(column),
        _ => None,
    };
    let is_outside = |expr: &Expr| expr.column_refs().iter().all(|column| !side.schema().has_column(column));
    let conditions = join.filter.iter().flat_map(split_conjunction).filter_map(|condition| match condition {
        Expr::BinaryExpr(comparison) if comparison.op == Operator::Eq => Some((&*comparison.left, &*comparison.right)),
        _ => None,
    });
    let conditions = join.on.iter().map(|(a, b)| (a, b)).chain(conditions);
    let columns = conditions.filter_map(|(a, b)| {
        let column = of_side(a).filter(|_| is_outside(b));
        column.or_else(|| of_side(b).filter(|_| is_outside(a)))
    });
    columns.map(|index| side.schema().field(index).name().clone()).collect()
}

fn moved(parts: Parts, to: impl Fn(usize) -> Vec<usize>) -> Parts {
    let part = |part: Part| Part { at: part.at.iter().flat_map(|index| to(*index)).collect(), ..part };
    parts.map(|parts| parts.into_iter().map(part).collect())
}

fn positions(exprs: &[Expr], is_it: impl Fn(&Expr) -> bool) -> Vec<usize> {
    let found = exprs.iter().enumerate().filter(|(_, expr)| is_it(&(*expr).clone().unalias_nested().data));
    found.map(|(index, _)| index).collect()
}

/// The key of `row_number() OVER (PARTITION BY key …) = 1`.
fn first_of_key(predicate: &Expr, input: &LogicalPlan) -> Parts {
    split_conjunction(predicate).into_iter().find_map(|condition| {
        let Expr::BinaryExpr(comparison) = condition else { return None };
        let (Expr::Column(column), Expr::Literal(value, _)) = (&*comparison.left, &*comparison.right) else {
            return None;
        };
        let bound = value.cast_to(&arrow::datatypes::DataType::Int64).ok()?;
        let is_first = match comparison.op {
            Operator::Eq | Operator::LtEq => bound == ScalarValue::Int64(Some(1)),
            Operator::Lt => bound == ScalarValue::Int64(Some(2)),
            _ => false,
        };
        let index = input.schema().maybe_index_of_column(column).filter(|_| is_first)?;
        numbered_by(input, index)
    })
}

/// The partition columns of the `row_number()` that a column is, as columns of the plan.
fn numbered_by(plan: &LogicalPlan, index: usize) -> Parts {
    match plan {
        LogicalPlan::Window(window) => {
            let own = index.checked_sub(window.input.schema().fields().len())?;
            let Expr::WindowFunction(call) = window.window_expr.get(own)?.clone().unalias_nested().data else {
                return None;
            };
            let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
            if function.name() != "row_number" {
                return None;
            }
            let part = |expr: &Expr| {
                let Expr::Column(column) = expr else { return None };
                let at = window.input.schema().maybe_index_of_column(column)?;
                Some(Part { name: column.name.clone(), at: vec![at] })
            };
            call.params.partition_by.iter().map(part).collect()
        }
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => numbered_by(plan.inputs()[0], index),
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema();
            let Expr::Column(column) = projection.expr.get(index)?.clone().unalias_nested().data else { return None };
            let below = numbered_by(&projection.input, schema.maybe_index_of_column(&column)?);
            moved(below, |index| {
                positions(
                    &projection.expr,
                    |expr| matches!(expr, Expr::Column(column) if schema.maybe_index_of_column(column) == Some(index)),
                )
            })
        }
        _ => None,
    }
}
