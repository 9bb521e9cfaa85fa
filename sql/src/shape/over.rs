//! `OVER` on a stream: the calls that can run in event-time order with bounded state, and the plan cut around them.
//!
//! ```text
//!  output plan:  projections, filters, joins with reference tables
//!  operator:     each row with the results of its calls
//!  input plan:   the columns that go through, then arguments and keys
//! ```

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    AggregateUDF, DistinctOn, Expr, LogicalPlan, LogicalPlanBuilder, SortExpr, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowFunctionDefinition, WindowUDF, lit,
};

use super::ordered::Columns;
use super::over_output::{is_filtered, needed_columns, with_placeholder};
use super::{ShapeError, error};
use crate::functions::{in_time_order, running_row_function};
use crate::lineage::{Origin, origin};

/// Aggregates whose state after any number of rows is small, and exact when it is stored and taken up again.
const RUNNING: [&str; 26] = [
    "approx_percentile",
    "delta",
    "ewma",
    "first",
    "increase",
    "integral",
    "last",
    "rate",
    "time_weighted_avg",
    "zscore",
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "var",
    "var_pop",
    "stddev",
    "stddev_pop",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "first_value",
    "last_value",
];

/// Of these, those that need their samples in the order of time.
const FOLDS: [&str; 6] = ["ewma", "increase", "integral", "rate", "time_weighted_avg", "zscore"];

type Result<T, E = ShapeError> = std::result::Result<T, E>;

/// Window calls over the rows of a stream.
#[derive(Debug, Clone)]
pub struct OverShape {
    /// This many first columns of the input go through; the results of the calls come after them.
    pub passed: usize,
    /// The calls.
    pub calls: Vec<OverCall>,
}

/// One call with `OVER`.
#[derive(Debug, Clone)]
pub struct OverCall {
    /// What is computed.
    pub function: OverFunction,
    /// Which rows belong together.
    pub partition: OverPartition,
    /// Type of the result.
    pub data_type: DataType,
}

/// `PARTITION BY`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverPartition {
    /// Columns of the input.
    pub keys: Vec<Expr>,
    /// A key column that says from when on there are no more rows of the key.
    pub ends: Option<KeyEnd>,
}

/// When a key has seen its last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEnd {
    /// A timestamp column of the input.
    pub column: Expr,
    /// The end comes so many microseconds after the column's value.
    pub after_us: i64,
}

/// What a call computes.
#[derive(Debug, Clone)]
pub enum OverFunction {
    /// A number that counts the rows of the key.
    Number(Numbering),
    /// An aggregate of all rows of the key up to this one.
    Running {
        /// Call of an aggregate function.
        aggregate: Expr,
        /// Whether rows of the same time are included, as `RANGE` says.
        peers: bool,
    },
    /// The value of another row of the key: `lag`, `lead`.
    Shift {
        /// A column of the input.
        value: Expr,
        /// How many rows further; negative: back.
        offset: i64,
        /// Where there is no such row.
        default: ScalarValue,
    },
    /// An aggregate of a frame.
    Aggregate {
        /// Call of an aggregate function.
        aggregate: Expr,
        /// Its rows.
        frame: Frame,
    },
    /// A window function of a frame.
    Window {
        /// The function.
        function: Arc<WindowUDF>,
        /// Columns of the input, and literals.
        arguments: Vec<Expr>,
        /// Whether NULLs are passed over.
        ignore_nulls: bool,
        /// Its rows.
        frame: Frame,
    },
}

/// Functions that count rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// `row_number`
    RowNumber,
    /// `rank`
    Rank,
    /// `dense_rank`
    DenseRank,
}

/// The rows that a function sees, relative to the current row; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Rows of the key by their position; negative is back.
    Rows {
        /// First.
        start: i64,
        /// Last.
        end: i64,
    },
    /// Rows of the key by their distance in microseconds; rows of a bound's very time belong to the frame.
    Range {
        /// First.
        start_us: i64,
        /// Last.
        end_us: i64,
    },
}

impl OverFunction {
    /// Whether it needs rows that come after the current one's time.
    #[must_use]
    pub fn looks_ahead(&self) -> bool {
        match self {
            Self::Number(_) | Self::Running { .. } => false,
            Self::Shift { offset, .. } => *offset > 0,
            Self::Aggregate { frame, .. } | Self::Window { frame, .. } => match frame {
                Frame::Rows { end, .. } => *end > 0,
                Frame::Range { end_us, .. } => *end_us > 0,
            },
        }
    }
}

/// A stream with its event time.
pub(super) struct StreamTime<'a> {
    pub(super) name: &'a str,
    /// Index of the column.
    pub(super) column: Option<usize>,
}

impl StreamTime<'_> {
    /// Whether an expression over the plan is the stream's event time, unchanged.
    fn is(&self, expr: &Expr, input: &LogicalPlan) -> bool {
        origin_of(expr, input) == self.origin()
    }

    fn origin(&self) -> Option<Origin> {
        Some(Origin::Table { table: self.name.to_owned(), column: self.column? })
    }
}

fn origin_of(expr: &Expr, input: &LogicalPlan) -> Option<Origin> {
    let Expr::Column(column) = expr.clone().unalias_nested().data else { return None };
    Some(origin(input, input.schema().maybe_index_of_column(&column)?))
}

/// The cut of a plan whose topmost window node is `top`.
pub(super) struct OverCut {
    pub(super) input: LogicalPlan,
    pub(super) shape: OverShape,
    pub(super) output: LogicalPlan,
}

/// The plan below the window nodes that stand upon each other from `top` on, and their calls, lowest first.
pub(super) fn calls_of(top: &LogicalPlan) -> (&LogicalPlan, Vec<&WindowFunction>) {
    let mut nodes = Vec::new();
    let mut plan = top;
    while let LogicalPlan::Window(window) = plan {
        nodes.push(window);
        plan = &window.input;
    }
    let calls = nodes.iter().rev().flat_map(|node| &node.window_expr).filter_map(call_of).collect();
    (plan, calls)
}

fn call_of(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::WindowFunction(call) => Some(call),
        Expr::Alias(alias) => call_of(&alias.expr),
        _ => None,
    }
}

/// Cuts `plan` around `top` and the window nodes right below it.
pub(super) fn cut(plan: &LogicalPlan, top: &LogicalPlan, time: &StreamTime<'_>) -> Result<OverCut> {
    let (input, calls) = calls_of(top);
    let below = input.schema().fields().len();
    let needed = needed_columns(plan, top).unwrap_or_else(|| (0..below).collect());
    let passed: Vec<usize> = needed.into_iter().filter(|index| *index < below).collect();
    let mut columns = Columns::default();
    for index in &passed {
        columns.column(Expr::Column(input.schema().columns()[*index].clone()));
    }
    let mut shaped = Vec::with_capacity(calls.len());
    for (n, call) in calls.into_iter().enumerate() {
        let data_type = top.schema().field(below + n).data_type().clone();
        let call = shaped_call(call, data_type, input, time, &mut columns)?;
        let ends_known = matches!(call.function, OverFunction::Number(_)) && call.partition.ends.is_none();
        if ends_known && is_filtered(plan, top, below + n) {
            return Err(keeps_every_key());
        }
        shaped.push(call);
    }
    let mut ahead = shaped.iter().filter(|call| call.function.looks_ahead()).map(|call| &call.partition);
    if let Some(first) = ahead.next()
        && ahead.any(|other| other != first)
    {
        return Err(error(
            "TC0334",
            "calls that look ahead with different PARTITION BY in one query",
            "let one of them look ahead, or write two queries",
        ));
    }
    let internal = |e: DataFusionError| super::analysis::internal(&e);
    let shape = OverShape { passed: passed.len(), calls: shaped };
    let output = with_placeholder(plan, top, &passed, below).map_err(internal)?;
    let built = LogicalPlanBuilder::from(input.clone()).project(columns.exprs()).and_then(LogicalPlanBuilder::build);
    Ok(OverCut { input: built.map_err(internal)?, shape, output })
}

fn shaped_call(
    call: &WindowFunction,
    data_type: DataType,
    input: &LogicalPlan,
    time: &StreamTime<'_>,
    columns: &mut Columns,
) -> Result<OverCall> {
    let params = &call.params;
    check_order(&params.order_by, input, time)?;
    let ends = params.partition_by.iter().find_map(|expr| {
        let after_us = match origin_of(expr, input)? {
            Origin::Window(name) if name == "window_end" => 0,
            Origin::Window(name) if name == "window_time" => 1,
            from if Some(&from) == time.origin().as_ref() => 1,
            _ => return None,
        };
        Some((expr, after_us))
    });
    let ends = ends.map(|(expr, after_us)| KeyEnd { column: columns.column(expr.clone()), after_us });
    let keys = params.partition_by.iter().map(|expr| columns.column(expr.clone())).collect();
    let ignore_nulls = matches!(params.null_treatment, Some(NullTreatment::IgnoreNulls));
    let function = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => {
            let goes_by_time = params.args.get(1).is_some_and(|by| time.is(by, input));
            match in_time_order(function).filter(|_| is_from_the_first(&params.window_frame)) {
                Some(in_order) if goes_by_time || !FOLDS.contains(&function.name()) => {
                    aggregate(&Arc::new(in_order), call, columns)?
                }
                Some(_) => return Err(by_another_time(function.name())),
                None => aggregate(function, call, columns)?,
            }
        }
        WindowFunctionDefinition::WindowUDF(function) => match function.name() {
            "row_number" => OverFunction::Number(Numbering::RowNumber),
            "rank" => OverFunction::Number(Numbering::Rank),
            "dense_rank" => OverFunction::Number(Numbering::DenseRank),
            name @ ("lag" | "lead") => shift(name, call, input.schema(), columns)?,
            "first_value" if is_from_the_first(&params.window_frame) => aggregate(&first_value_udaf(), call, columns)?,
            "last_value" if is_from_the_first(&params.window_frame) && ignore_nulls => {
                aggregate(&last_value_udaf(), call, columns)?
            }
            "first_value" | "last_value" | "nth_value" => {
                let frame = match function.name() {
                    "last_value" => frame_of_last(&params.window_frame)?,
                    name => bounded(&params.window_frame, name)?,
                };
                let arguments = params.args.iter().map(|argument| columns.argument(argument.clone())).collect();
                OverFunction::Window { function: Arc::clone(function), arguments, ignore_nulls, frame }
            }
            name if let Some(running) = running_row_function(function) => {
                if params.distinct || params.filter.is_some() || ignore_nulls {
                    let hint = "filter in a subquery below";
                    return Err(cannot_run(&format!("{name}() with DISTINCT, FILTER or IGNORE NULLS"), hint));
                }
                let call =
                    AggregateFunction::new_udf(Arc::new(running), params.args.clone(), false, None, vec![], None);
                // It goes from row to row, whatever the frame.
                OverFunction::Running { aggregate: columns.of_call(call), peers: false }
            }
            name @ ("ntile" | "percent_rank" | "cume_dist") => return Err(never_complete(&format!("{name}()"))),
            "swinging_door" => {
                let hint = "deadband(value, width) keeps rows by the value alone";
                return Err(cannot_run("swinging_door(), which looks at the row after,", hint));
            }
            name => return Err(cannot_run(&format!("{name}() with OVER"), "its state cannot be stored and taken up")),
        },
    };
    Ok(OverCall { function, partition: OverPartition { keys, ends }, data_type })
}

fn check_order(order: &[SortExpr], input: &LogicalPlan, time: &StreamTime<'_>) -> Result<()> {
    if time.column.is_none() {
        return Err(error(
            "TC0330",
            &format!("OVER goes by event time, and stream \"{}\" has none", time.name),
            "declare it: WATERMARK FOR ts AS ts - INTERVAL '5 seconds'",
        ));
    }
    match order {
        [only] if only.asc && time.is(&only.expr, input) => Ok(()),
        [] => Err(error(
            "TC0330",
            "OVER on a stream goes by event time, and this one has no ORDER BY",
            "write OVER (PARTITION BY … ORDER BY ts), ts being the event time of the stream",
        )),
        _ => Err(error(
            "TC0330",
            "OVER on a stream takes its rows by event time, ascending, and by nothing else",
            "write ORDER BY ts, ts being the event time of the stream, unchanged; rows of one time stand as they came",
        )),
    }
}

fn aggregate(function: &Arc<AggregateUDF>, call: &WindowFunction, columns: &mut Columns) -> Result<OverFunction> {
    let params = &call.params;
    let made = AggregateFunction::new_udf(
        Arc::clone(function),
        params.args.clone(),
        params.distinct,
        params.filter.clone(),
        Vec::new(),
        params.null_treatment,
    );
    let name = function.name();
    if !is_from_the_first(&params.window_frame) {
        let frame = bounded(&params.window_frame, name)?;
        return Ok(OverFunction::Aggregate { aggregate: columns.of_call(made), frame });
    }
    if params.window_frame.end_bound.is_unbounded() {
        return Err(never_complete("a frame up to UNBOUNDED FOLLOWING"));
    }
    if distance(&params.window_frame.end_bound, params.window_frame.units)? != 0 {
        return Err(unbounded(&format!(
            "a frame from the first row of the key to another than the current one ({name})"
        )));
    }
    if params.distinct || !RUNNING.contains(&name) {
        let distinct = if params.distinct { "DISTINCT " } else { "" };
        return Err(unbounded(&format!("{name}({distinct}…) from the first row of the key on")));
    }
    let peers = match params.window_frame.units {
        WindowFrameUnits::Rows => false,
        WindowFrameUnits::Range => true,
        WindowFrameUnits::Groups => return Err(groups()),
    };
    Ok(OverFunction::Running { aggregate: columns.of_call(made), peers })
}

fn shift(name: &str, call: &WindowFunction, schema: &DFSchema, columns: &mut Columns) -> Result<OverFunction> {
    let params = &call.params;
    if matches!(params.null_treatment, Some(NullTreatment::IgnoreNulls)) {
        return Err(error(
            "TC0333",
            &format!("{name}() with IGNORE NULLS would keep rows without a bound"),
            "last_value(v) IGNORE NULLS OVER (… ROWS BETWEEN 9 PRECEDING AND 1 PRECEDING) looks back as far as it says",
        ));
    }
    let literal = |n: usize| match params.args.get(n) {
        None => Ok(None),
        Some(expr) => match expr.clone().unalias_nested().data {
            Expr::Literal(value, _) => Ok(Some(value)),
            _ => Err(cannot_run(&format!("{name}() whose offset or default is not a constant"), "write a literal")),
        },
    };
    let rows = match literal(1)? {
        Some(value) if !value.is_null() => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(rows))) => rows,
            _ => return Err(cannot_run(&format!("{name}() with this offset"), "write a number of rows")),
        },
        _ => 1,
    };
    let value = params.args.first().cloned().unwrap_or_else(|| lit(ScalarValue::Null));
    let result =
        datafusion::logical_expr::ExprSchemable::get_type(&value, schema).map_err(|e| super::analysis::internal(&e))?;
    let default = match literal(2)? {
        Some(default) => default.cast_to(&result),
        None => ScalarValue::try_from(&result),
    };
    let default = default.map_err(|_| cannot_run(&format!("{name}() with a default of another type"), "CAST it"))?;
    let offset = if name == "lag" { rows.wrapping_neg() } else { rows };
    Ok(OverFunction::Shift { value: columns.column(value), offset, default })
}

fn is_from_the_first(frame: &WindowFrame) -> bool {
    matches!(&frame.start_bound, WindowFrameBound::Preceding(bound) if bound.is_null())
}

/// A frame with both bounds.
fn bounded(frame: &WindowFrame, function: &str) -> Result<Frame> {
    if is_from_the_first(frame) {
        return Err(unbounded(&format!("{function}() from the first row of the key on")));
    }
    if frame.end_bound.is_unbounded() {
        return Err(never_complete("a frame up to UNBOUNDED FOLLOWING"));
    }
    let (start, end) = (distance(&frame.start_bound, frame.units)?, distance(&frame.end_bound, frame.units)?);
    Ok(match frame.units {
        WindowFrameUnits::Rows => Frame::Rows { start, end },
        WindowFrameUnits::Range => Frame::Range { start_us: start, end_us: end },
        WindowFrameUnits::Groups => return Err(groups()),
    })
}

/// The last row of a frame needs no other row of it, where it is known to be near.
fn frame_of_last(frame: &WindowFrame) -> Result<Frame> {
    if !is_from_the_first(frame) {
        return bounded(frame, "last_value");
    }
    if frame.end_bound.is_unbounded() {
        return Err(never_complete("a frame up to UNBOUNDED FOLLOWING"));
    }
    let end = distance(&frame.end_bound, frame.units)?;
    match frame.units {
        WindowFrameUnits::Rows => Ok(Frame::Rows { start: end.min(0), end }),
        WindowFrameUnits::Range if end >= 0 => Ok(Frame::Range { start_us: 0, end_us: end }),
        WindowFrameUnits::Range => Err(unbounded("last_value() of a frame that ends before the current row")),
        WindowFrameUnits::Groups => Err(groups()),
    }
}

/// A bound in rows or microseconds; negative is back.
fn distance(bound: &WindowFrameBound, units: WindowFrameUnits) -> Result<i64> {
    let (value, sign) = match bound {
        WindowFrameBound::CurrentRow => return Ok(0),
        WindowFrameBound::Preceding(value) => (value, -1),
        WindowFrameBound::Following(value) => (value, 1),
    };
    let distance = match (units, value) {
        (WindowFrameUnits::Rows, ScalarValue::UInt64(Some(rows))) => i64::try_from(*rows).ok(),
        (WindowFrameUnits::Range, value) => microseconds(value),
        _ => None,
    };
    let distance = distance.filter(|distance| *distance >= 0);
    distance.map(|distance| distance * sign).ok_or_else(|| match units {
        WindowFrameUnits::Groups => groups(),
        _ => {
            cannot_run("this bound of a frame", "write a number of ROWS, or RANGE with a fixed INTERVAL without months")
        }
    })
}

fn microseconds(interval: &ScalarValue) -> Option<i64> {
    const DAY_US: i64 = 86_400_000_000;
    match interval {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 && i.nanoseconds % 1000 == 0 => {
            i64::from(i.days).checked_mul(DAY_US)?.checked_add(i.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(i)) => {
            i64::from(i.days).checked_mul(DAY_US)?.checked_add(i64::from(i.milliseconds) * 1000)
        }
        _ => None,
    }
}

/// `DISTINCT ON` as what it is short for: the first row of each key by event time.
pub(super) fn first_of_each(distinct: &DistinctOn, time: &StreamTime<'_>) -> Result<LogicalPlan> {
    let input = &distinct.input;
    let named_order = distinct.sort_expr.as_deref().unwrap_or_default();
    let order = named_order.iter().find(|sort| !distinct.on_expr.contains(&sort.expr));
    if let Some(order) = order
        && !(order.asc && time.is(&order.expr, input))
    {
        check_order(std::slice::from_ref(order), input, time)?;
    }
    let at = (0..input.schema().fields().len()).find(|index| Some(origin(input, *index)) == time.origin());
    let Some(at) = at else {
        check_order(&[], input, time)?;
        unreachable!("without an order there is an error");
    };
    let by_time = Expr::Column(input.schema().columns()[at].clone()).sort(true, false);
    let number = datafusion::functions_window::row_number::row_number_udwf();
    let mut call = WindowFunction::new(number, Vec::new());
    call.params.partition_by = distinct.on_expr.clone();
    call.params.order_by = vec![by_time];
    call.params.window_frame = WindowFrame::new(Some(true));
    let number = "__row_number";
    let call = Expr::from(call).alias(number);
    let built = LogicalPlanBuilder::from(Arc::unwrap_or_clone(Arc::clone(input)))
        .window([call])
        .and_then(|plan| plan.filter(datafusion::prelude::col(number).eq(lit(1_u64))))
        .and_then(|plan| plan.project(distinct.select_expr.clone()))
        .and_then(LogicalPlanBuilder::build);
    built.map_err(|e| super::analysis::internal(&e))
}

fn unbounded(what: &str) -> ShapeError {
    error(
        "TC0331",
        &format!("{what} would keep every row"),
        "bound the frame: ROWS BETWEEN 99 PRECEDING AND CURRENT ROW, or RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW",
    )
}

fn never_complete(what: &str) -> ShapeError {
    error(
        "TC0332",
        &format!("{what} needs all rows of the key, and a stream has no last one"),
        "end the frame at CURRENT ROW or a bounded FOLLOWING, or use it above a windowed aggregate",
    )
}

fn cannot_run(what: &str, hint: &str) -> ShapeError {
    error("TC0333", &format!("{what} cannot run over a stream"), hint)
}

fn by_another_time(function: &str) -> ShapeError {
    error(
        "TC0331",
        &format!(
            "{function}() from the first row of the key on, by another time than the stream's, would keep every row"
        ),
        "give it the event time as its second argument, or bound the frame: RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW",
    )
}

fn groups() -> ShapeError {
    cannot_run("a frame of GROUPS", "use ROWS or RANGE")
}

fn keeps_every_key() -> ShapeError {
    error(
        "TC0335",
        "the first rows of each key: every key would be remembered for ever",
        "bound it in time: FROM TUMBLE(stream, ts, INTERVAL '1 hour') … PARTITION BY key, window_start, window_end; \
         or PARTITION BY key, ts for rows that were sent twice",
    )
}
