//! Windows that the rows themselves make: `COUNT_WINDOW(input, n [, slide])` and
//! `STATE_WINDOW(input, start_condition, end_condition)`.
//!
//! They name no time column: their rows go by the event time of the stream, unless `TIME => column` says otherwise.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, Result, Span, Spans};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr as PlanExpr, ExprSchemable, LogicalPlan};
use sqlparser::ast::{Expr, Value};

use super::{Arguments, WindowCall, WindowError, place, usage};
use crate::codes;
use crate::lineage::{self, Origin};
use crate::session::EventTimes;
use crate::shape::{MAX_OVERLAPPING, WindowFunction};
use crate::types::sql_name;

/// The windows of `COUNT_WINDOW`.
pub(super) fn count_window(call: &WindowCall<'_>, arguments: &Arguments) -> Result<WindowFunction, WindowError> {
    let number = |name: &str, expr: &Expr| {
        let number = match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) => text.parse::<u32>().ok().filter(|number| *number > 0),
                _ => None,
            },
            _ => None,
        };
        let message = format!("the {name} of COUNT_WINDOW is a positive whole number of rows, found {expr}");
        number.ok_or_else(|| WindowError { at: place(call, expr), ..usage(call, message) })
    };
    let Some(size) = &arguments.size else { return Err(usage(call, "COUNT_WINDOW needs its number of rows")) };
    let rows = number("size", size)?;
    let slide = arguments.slide.as_ref().map_or(Ok(rows), |slide| number("slide", slide))?;
    let overlapping = rows.div_ceil(slide);
    if overlapping > MAX_OVERLAPPING {
        let message = format!("a row would be in {overlapping} windows at once; at most {MAX_OVERLAPPING} may overlap");
        let at = arguments.slide.as_ref().map_or(call.at, |slide| place(call, slide));
        return Err(WindowError::new(codes::WINDOW_ARGUMENTS, at, message).hint("make the slide longer"));
    }
    Ok(WindowFunction::Count { rows, slide })
}

/// The windows of `STATE_WINDOW`, whose conditions are over the columns of `input`.
pub(super) fn state_window(
    call: &WindowCall<'_>,
    arguments: &Arguments,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<WindowFunction> {
    let (Some(start), Some(end)) = (&arguments.start, &arguments.end) else {
        return Err(usage(call, "STATE_WINDOW needs the conditions that start and end a state").into());
    };
    let mut conditions = Vec::with_capacity(2);
    for (name, expr) in [("start", start), ("end", end)] {
        let condition = context.sql_to_expr(expr.clone(), input.schema())?;
        check_condition(call, name, expr, &condition, input.schema())?;
        conditions.push(Box::new(condition));
    }
    let (end, start) = (conditions.pop().expect("two were pushed"), conditions.pop().expect("two were pushed"));
    Ok(WindowFunction::State { start, end })
}

fn check_condition(
    call: &WindowCall<'_>,
    name: &str,
    expr: &Expr,
    condition: &PlanExpr,
    schema: &DFSchema,
) -> Result<(), WindowError> {
    let at = place(call, expr);
    let looks_further = condition.exists(|inner| {
        Ok(matches!(
            inner,
            PlanExpr::AggregateFunction(_)
                | PlanExpr::WindowFunction(_)
                | PlanExpr::ScalarSubquery(_)
                | PlanExpr::Exists(_)
                | PlanExpr::InSubquery(_)
        ))
    });
    if looks_further.unwrap_or(true) {
        let message = "a condition of STATE_WINDOW looks at one row: no aggregates, window functions or subqueries";
        return Err(WindowError::new(codes::WINDOW_ARGUMENTS, at, message));
    }
    match condition.get_type(schema) {
        Ok(DataType::Boolean) => Ok(()),
        Ok(other) => {
            let message = format!("the {name} of STATE_WINDOW is a condition, found {}", sql_name(&other));
            Err(WindowError::new(codes::WINDOW_ARGUMENTS, at, message)
                .hint("write a condition over the columns of a row, like temperature > 80"))
        }
        Err(_) => {
            let message = format!("the types in the {name} condition of STATE_WINDOW do not fit together");
            Err(WindowError::new(codes::TYPES, at, message).hint("CAST(… AS type) converts between types"))
        }
    }
}

/// The event time of the stream that `input` reads, among the columns of `input`.
pub(super) fn event_time(
    call: &WindowCall<'_>,
    input: &LogicalPlan,
    event_times: &EventTimes,
) -> Result<Column, WindowError> {
    let error = |code, message: String| WindowError::new(code, call.at, message);
    let tables = lineage::tables(input).unwrap_or_default();
    let stream = tables.iter().find_map(|table| Some((table, event_times.of(table)?)));
    let Some((stream, event_time)) = stream else {
        let message = "a window goes over a stream, and there is none here".to_owned();
        return Err(error(codes::WINDOW_TIME, message).hint("name the column that its rows go by: TIME => ts"));
    };
    let Some(column) = event_time else {
        let message = format!("the stream \"{stream}\" has no watermark: this window would never close");
        let hint = format!("add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of {stream}");
        return Err(error(codes::NO_WATERMARK, message).hint(hint));
    };
    let expected = Origin::Table { table: stream.clone(), column };
    let index = (0..input.schema().fields().len()).find(|index| lineage::origin(input, *index) == expected);
    let Some(index) = index else {
        let message = format!("the event time of the stream \"{stream}\" is not among the columns of the input");
        return Err(error(codes::WINDOW_TIME, message).hint("select the column of WATERMARK FOR, unchanged"));
    };
    let mut spans = Spans::new();
    spans.0.extend(Span::try_from_sqlparser_span(call.at));
    Ok(Column::from(input.schema().qualified_field(index)).with_spans(spans))
}
