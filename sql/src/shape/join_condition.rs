//! The condition of a join of two streams, taken apart: keys, a bound in event time, the rest.

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::{find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator};

use arrow::datatypes::{DataType, TimeUnit};

use crate::asof;
use crate::lineage::{Origin, origin};

/// A side of the join: its plan, stream, and the stream's event time.
#[derive(Debug)]
pub(super) struct Side<'a> {
    pub(super) plan: &'a LogicalPlan,
    pub(super) stream: String,
    pub(super) event_time: usize,
}

impl Side<'_> {
    fn origin(&self, column: &Column) -> Option<Origin> {
        Some(origin(self.plan, self.plan.schema().maybe_index_of_column(column)?))
    }

    fn is_event_time(&self, column: &Column) -> bool {
        self.origin(column) == Some(Origin::Table { table: self.stream.clone(), column: self.event_time })
    }

    /// The event time among its columns.
    pub(super) fn time(&self) -> Option<Column> {
        self.plan.schema().columns().into_iter().find(|column| self.is_event_time(column))
    }

    fn window_column(&self, column: &Column) -> Option<String> {
        match self.origin(column) {
            Some(Origin::Window(name)) => Some(name),
            _ => None,
        }
    }
}

/// A condition's parts. Times are the first side's minus the second's.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) keys: Vec<(Expr, Expr)>,
    pub(super) min_us: Option<i64>,
    pub(super) max_us: Option<i64>,
    /// The comparisons that `min_us` and `max_us` come from.
    pub(super) times: Vec<Expr>,
    /// Whether the rows' windows are the same.
    pub(super) same_window: bool,
    pub(super) match_condition: Option<Expr>,
    pub(super) residual: Vec<Expr>,
}

impl Condition {
    /// Takes apart the condition of `join`, and what else holds for its rows.
    pub(super) fn of(join: &Join, further: Vec<Expr>, sides: [&Side<'_>; 2]) -> Self {
        let mut condition = Self { keys: join.on.clone(), ..Self::default() };
        let parts = join.filter.iter().cloned().chain(further).flat_map(split_conjunction_owned);
        for part in parts {
            if let Some(inner) = asof::match_condition(&part) {
                condition.match_condition = Some(inner.clone());
            } else if condition.take_time(&part, sides) {
                condition.times.push(part);
            } else if is_same_window(&part, sides) {
                condition.same_window = true;
            } else if let Some(pair) = key_pair(&part, sides) {
                condition.keys.push(pair);
            } else {
                condition.residual.push(part);
            }
        }
        condition
    }

    /// The bounds of a comparison of the two event times, if it is one.
    fn take_time(&mut self, expr: &Expr, sides: [&Side<'_>; 2]) -> bool {
        let bounds = match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => bounds(left, *op, right, sides).map(|b| vec![b]),
            Expr::Between(between) if !between.negated => {
                let low = bounds(&between.expr, Operator::GtEq, &between.low, sides);
                let high = bounds(&between.expr, Operator::LtEq, &between.high, sides);
                low.zip(high).map(|(low, high)| vec![low, high])
            }
            _ => None,
        };
        let Some(bounds) = bounds else { return false };
        for (min_us, max_us) in bounds {
            self.min_us = self.min_us.max(min_us);
            self.max_us = match (self.max_us, max_us) {
                (Some(known), Some(other)) => Some(known.min(other)),
                (known, other) => known.or(other),
            };
        }
        true
    }
}

/// The least and the greatest difference of the event times for which `left op right` holds.
pub(super) fn bounds(
    left: &Expr,
    op: Operator,
    right: &Expr,
    sides: [&Side<'_>; 2],
) -> Option<(Option<i64>, Option<i64>)> {
    let (left, right) = (Times::of(left, sides)?, Times::of(right, sides)?);
    let Times { first, second, us } = left.minus(right)?;
    // (first - second) + us op 0, or the same with both signs changed
    let (op, bound) = match (first, second) {
        (1, -1) => (op, us.checked_neg()?),
        (-1, 1) => (op.swap()?, us),
        _ => return None,
    };
    match op {
        Operator::Eq => Some((Some(bound), Some(bound))),
        Operator::GtEq => Some((Some(bound), None)),
        Operator::Gt => Some((Some(bound.checked_add(1)?), None)),
        Operator::LtEq => Some((None, Some(bound))),
        Operator::Lt => Some((None, Some(bound.checked_sub(1)?))),
        _ => None,
    }
}

/// A sum of event times and a constant.
#[derive(Debug, Clone, Copy)]
struct Times {
    first: i64,
    second: i64,
    us: i64,
}

impl Times {
    fn of(expr: &Expr, sides: [&Side<'_>; 2]) -> Option<Self> {
        match expr {
            Expr::Column(column) if sides[0].is_event_time(column) => Some(Self { first: 1, second: 0, us: 0 }),
            Expr::Column(column) if sides[1].is_event_time(column) => Some(Self { first: 0, second: 1, us: 0 }),
            Expr::Literal(value, _) => Some(Self { first: 0, second: 0, us: length_us(value)? }),
            Expr::Alias(alias) => Self::of(&alias.expr, sides),
            Expr::Cast(cast) if keeps_microseconds(cast.field.data_type()) => Self::of(&cast.expr, sides),
            Expr::Negative(inner) => Self { first: 0, second: 0, us: 0 }.minus(Self::of(inner, sides)?),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
                Self::of(left, sides)?.minus(Self::of(right, sides)?)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
                let nothing = Self { first: 0, second: 0, us: 0 };
                Self::of(left, sides)?.minus(nothing.minus(Self::of(right, sides)?)?)
            }
            _ => None,
        }
    }

    fn minus(self, other: Self) -> Option<Self> {
        let us = self.us.checked_sub(other.us)?;
        Some(Self { first: self.first - other.first, second: self.second - other.second, us })
    }
}

/// The length of a fixed interval.
fn length_us(value: &ScalarValue) -> Option<i64> {
    const DAY_US: i64 = 86_400_000_000;
    let whole = |nanoseconds: i64| (nanoseconds % 1_000 == 0).then_some(nanoseconds / 1_000);
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(DAY_US)?.checked_add(whole(interval.nanoseconds)?)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            i64::from(interval.days).checked_mul(DAY_US)?.checked_add(i64::from(interval.milliseconds) * 1_000)
        }
        ScalarValue::DurationSecond(Some(length)) => length.checked_mul(1_000_000),
        ScalarValue::DurationMillisecond(Some(length)) => length.checked_mul(1_000),
        ScalarValue::DurationMicrosecond(Some(length)) => Some(*length),
        ScalarValue::DurationNanosecond(Some(length)) => whole(*length),
        _ => None,
    }
}

fn keeps_microseconds(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(unit, _) | DataType::Duration(unit) => {
            matches!(unit, TimeUnit::Microsecond | TimeUnit::Nanosecond)
        }
        DataType::Interval(_) => true,
        _ => false,
    }
}

/// `x.window_start = y.window_start`, or the same of another window column.
fn is_same_window(expr: &Expr, sides: [&Side<'_>; 2]) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return false };
    let (Expr::Column(left), Expr::Column(right)) = (left.as_ref(), right.as_ref()) else { return false };
    let both = |first: &Column, second: &Column| {
        let (first, second) = (sides[0].window_column(first), sides[1].window_column(second));
        first.is_some() && first == second
    };
    both(left, right) || both(right, left)
}

fn key_pair(expr: &Expr, sides: [&Side<'_>; 2]) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return None };
    find_valid_equijoin_key_pair(left, right, sides[0].plan.schema(), sides[1].plan.schema()).ok().flatten()
}
