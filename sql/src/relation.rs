//! Window functions in FROM: `TUMBLE(input, time, size)`, `HOP(input, time, slide, size)` … become a [`WindowNode`].

mod aligned;
mod lower;
mod rows;

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr as PlanExpr, Extension, LogicalPlan};
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Spanned, TableAlias,
    TableFactor,
};
use sqlparser::tokenizer::Span as At;

use crate::codes::{self, Code};
use crate::nodes::{WINDOW_COLUMNS, WindowNode, timestamp_type};
use crate::session::EventTimes;
use crate::shape::WindowFunction;
use crate::types::sql_name;

/// The window functions there are.
pub(crate) const WINDOWS: [&str; 6] = ["TUMBLE", "HOP", "CUMULATE", "SESSION", "COUNT_WINDOW", "STATE_WINDOW"];

/// What is wrong with a window function, with its place; travels inside DataFusion's error.
#[derive(Debug)]
pub(crate) struct WindowError {
    pub(crate) code: Code,
    pub(crate) at: At,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WindowError {}

impl WindowError {
    fn new(code: Code, at: At, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<WindowError> for DataFusionError {
    fn from(error: WindowError) -> Self {
        Self::External(Box::new(error))
    }
}

/// The call of a window function, as it is written in FROM.
pub(crate) struct WindowCall<'a> {
    /// In upper case.
    pub(crate) function: String,
    pub(crate) at: At,
    args: &'a [FunctionArg],
    alias: Option<&'a TableAlias>,
}

impl<'a> WindowCall<'a> {
    /// The call that this table factor is; also Flink's `TABLE(TUMBLE(…))`.
    pub(crate) fn of(factor: &'a TableFactor) -> Option<Self> {
        let (name, args, alias) = match factor {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, args.args.as_slice(), alias),
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => match &function.args {
                FunctionArguments::List(list) => (&function.name, list.args.as_slice(), alias),
                _ => return None,
            },
            _ => return None,
        };
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
        let function = ident.value.to_uppercase();
        let known = WINDOWS.contains(&function.as_str());
        known.then_some(Self { function, at: ident.span, args, alias: alias.as_ref() })
    }

    /// The input, where it is a name.
    pub(crate) fn input_name(&self) -> Option<ObjectName> {
        self.args.iter().enumerate().find_map(|(n, arg)| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if n == 0 => object_name(expr),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. }
                if ["data", "input"].iter().any(|known| name.value.eq_ignore_ascii_case(known)) =>
            {
                object_name(expr)
            }
            _ => None,
        })
    }
}

fn object_name(expr: &Expr) -> Option<ObjectName> {
    let parts: &[Ident] = match expr {
        Expr::Identifier(ident) => std::slice::from_ref(ident),
        Expr::CompoundIdentifier(idents) => idents,
        _ => return None,
    };
    Some(ObjectName(parts.iter().cloned().map(ObjectNamePart::Identifier).collect()))
}

/// The arguments, each in its place.
#[derive(Default)]
struct Arguments {
    input: Option<Expr>,
    time: Option<Expr>,
    slide: Option<Expr>,
    size: Option<Expr>,
    offset: Option<Expr>,
    step: Option<Expr>,
    time_zone: Option<Expr>,
    gap: Option<Expr>,
    start: Option<Expr>,
    end: Option<Expr>,
}

/// Plans window functions for DataFusion's SQL front end.
#[derive(Debug)]
pub(crate) struct WindowPlanner {
    pub(crate) event_times: EventTimes,
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = WindowCall::of(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let plan = plan_window(&call, context, &self.event_times)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, call.alias.cloned()))))
    }
}

fn plan_window(
    call: &WindowCall<'_>,
    context: &mut dyn RelationPlannerContext,
    event_times: &EventTimes,
) -> Result<LogicalPlan> {
    let mut arguments = bind(call)?;
    let window = match call.function.as_str() {
        "STATE_WINDOW" => None,
        _ => Some(window(call, &arguments)?),
    };
    let (input, time) = (arguments.input.take(), arguments.time.take());
    let (Some(input), true) = (input, time.is_some() || has_implied_time(call)) else {
        return Err(usage(call, "a window function takes an input and a time column").into());
    };
    let input = context.plan(input_factor(input, call)?)?;
    let time = match time {
        Some(time) => named_time(call, time, &input, context)?,
        None => rows::event_time(call, &input, event_times)?,
    };
    let window = match window {
        Some(window) => window,
        None => rows::state_window(call, &arguments, &input, context)?,
    };
    let (input, time) = lower::renamed(input, time)?;
    for name in WINDOW_COLUMNS {
        if !input.schema().fields_with_unqualified_name(name).is_empty() {
            let message = format!("the input of {} already has a column \"{name}\"", call.function);
            return Err(WindowError::new(codes::DUPLICATE_COLUMN, call.at, message)
                .hint(format!("give it another name in the subquery or view: {name} AS …"))
                .into());
        }
    }
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(WindowNode::try_new(input, time, window)?) }))
}

/// The time column that a call names.
fn named_time(
    call: &WindowCall<'_>,
    time: Expr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Column> {
    let time_at = time.span();
    let time = match context.sql_to_expr(time_column(time), input.schema())? {
        PlanExpr::Column(column) => column,
        _ => {
            let error = usage(call, "the time of a window is a column of its input");
            return Err(WindowError { at: time_at, ..error }.into());
        }
    };
    let (_, field) = input.schema().qualified_field_from_column(&time)?;
    if *field.data_type() != timestamp_type() {
        let message = format!("\"{}\" is of type {}, not TIMESTAMP", time.name, sql_name(field.data_type()));
        return Err(WindowError::new(codes::WINDOW_TIME, time_at, message)
            .hint("a window goes by a TIMESTAMP column; CAST(… AS TIMESTAMP) in a subquery makes one")
            .into());
    }
    Ok(time)
}

/// Whether a call need not name its time column.
fn has_implied_time(call: &WindowCall<'_>) -> bool {
    matches!(call.function.as_str(), "COUNT_WINDOW" | "STATE_WINDOW")
}

fn usage(call: &WindowCall<'_>, message: impl Into<String>) -> WindowError {
    let usage = match call.function.as_str() {
        "HOP" => "HOP(input, time, INTERVAL 'slide', INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])",
        "CUMULATE" => {
            "CUMULATE(input, time, INTERVAL 'step', INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])"
        }
        "SESSION" => "SESSION(input, time, INTERVAL 'gap')",
        "COUNT_WINDOW" => "COUNT_WINDOW(input, rows [, slide])",
        "STATE_WINDOW" => "STATE_WINDOW(input, start_condition, end_condition)",
        _ => "TUMBLE(input, time, INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])",
    };
    WindowError::new(codes::WINDOW_ARGUMENTS, call.at, message).hint(format!("write {usage}"))
}

/// The arguments of a window function, in their order; a time that may be left out and a time zone are given by name.
fn parameters(function: &str) -> &'static [&'static str] {
    match function {
        "HOP" => &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET", "TIME_ZONE"],
        "CUMULATE" => &["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET", "TIME_ZONE"],
        "SESSION" => &["DATA", "TIMECOL", "GAP"],
        "COUNT_WINDOW" => &["DATA", "SIZE", "SLIDE", "TIMECOL"],
        "STATE_WINDOW" => &["DATA", "START_CONDITION", "END_CONDITION", "TIMECOL"],
        _ => &["DATA", "TIMECOL", "SIZE", "OFFSET", "TIME_ZONE"],
    }
}

fn bind(call: &WindowCall<'_>) -> Result<Arguments, WindowError> {
    let mut bound = Arguments::default();
    let order = parameters(&call.function);
    let by_name = has_implied_time(call) || order.contains(&"TIME_ZONE");
    let positional = order.len() - usize::from(by_name);
    for (n, arg) in call.args.iter().enumerate() {
        let (name, expr) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match order.get(n).filter(|_| n < positional) {
                Some(name) => ((*name).to_owned(), expr),
                None => return Err(usage(call, format!("{} takes {positional} arguments", call.function))),
            },
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => (name.value.to_uppercase(), expr),
            _ => return Err(usage(call, format!("\"{arg}\" is no argument of a window function"))),
        };
        let name = match name.as_str() {
            "INPUT" => "DATA",
            "TIME" => "TIMECOL",
            "TIMEZONE" => "TIME_ZONE",
            other => other,
        };
        let slot = match name {
            _ if !order.contains(&name) => {
                return Err(usage(call, format!("{} has no argument {name}", call.function)));
            }
            "DATA" => &mut bound.input,
            "TIMECOL" => &mut bound.time,
            "SLIDE" => &mut bound.slide,
            "SIZE" => &mut bound.size,
            "OFFSET" => &mut bound.offset,
            "STEP" => &mut bound.step,
            "TIME_ZONE" => &mut bound.time_zone,
            "GAP" => &mut bound.gap,
            "START_CONDITION" => &mut bound.start,
            "END_CONDITION" => &mut bound.end,
            _ => return Err(usage(call, format!("{} has no argument {name}", call.function))),
        };
        if slot.replace(expr.clone()).is_some() {
            return Err(usage(call, format!("the argument {name} is given twice")));
        }
    }
    Ok(bound)
}

fn window(call: &WindowCall<'_>, arguments: &Arguments) -> Result<WindowFunction, WindowError> {
    match call.function.as_str() {
        "SESSION" => {
            let gap_us = aligned::length_us(call, "gap", aligned::given(call, "gap", arguments.gap.as_ref())?)?;
            Ok(WindowFunction::Session { gap_us })
        }
        "COUNT_WINDOW" => rows::count_window(call, arguments),
        _ => aligned::window(call, arguments).map(WindowFunction::Aligned),
    }
}

fn place(call: &WindowCall<'_>, expr: &Expr) -> At {
    let at = expr.span();
    if at == At::empty() { call.at } else { at }
}

/// The input as something that can stand in FROM by itself.
fn input_factor(input: Expr, call: &WindowCall<'_>) -> Result<TableFactor, WindowError> {
    if let Some(name) = object_name(&input) {
        return Ok(TableFactor::Table {
            name,
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        });
    }
    match input {
        Expr::Subquery(subquery) => Ok(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None }),
        other => {
            let error = usage(call, "the input of a window is a stream, a view or a subquery in parentheses");
            Err(WindowError { at: place(call, &other), ..error })
        }
    }
}

/// `ts` or `DESCRIPTOR(ts)`
fn time_column(time: Expr) -> Expr {
    if let Expr::Function(function) = &time
        && matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(name)] if name.value.eq_ignore_ascii_case("descriptor"))
        && let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] = list.args.as_slice()
    {
        return column.clone();
    }
    time
}
