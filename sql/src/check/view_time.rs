//! Event time of rows that a continuous query keeps: which columns a query over them can go by, and how far the watermark of
//! the one says how far the other is.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{JoinType, LogicalPlan};

use super::Checker;
use crate::codes::{self, Code};
use crate::lineage::{self, Origin};
use crate::nodes::{WINDOW_COLUMNS, WindowNode};
use crate::pipeline::ViewTime;
use crate::shape::{
    Frame, JoinReach, OrderedOperator, OrderedShape, OverFunction, OverShape, QueryShape, ShapeError, Window,
};

type Mistake = (Code, datafusion::common::Column, String, String);

/// In the order in which they are preferred.
const WINDOW_TIMES: [&str; 3] = [WINDOW_COLUMNS[1], WINDOW_COLUMNS[2], WINDOW_COLUMNS[0]];

impl Checker {
    /// The columns of a query's rows that are a time.
    pub(super) fn view_times(&self, shape: &QueryShape, plan: &LogicalPlan) -> Vec<ViewTime> {
        let columns = 0..plan.schema().fields().len();
        // Rows come in the order of each key's own watermark: there is none that all of them have passed.
        if shape.streams().iter().any(|stream| !self.watermark_key_of(stream).is_empty()) {
            return Vec::new();
        }
        match shape {
            QueryShape::Stateless { .. } => Vec::new(),
            QueryShape::Windowed(shape) => window_times(plan, &shape.window.longest_us()),
            QueryShape::Ordered(shape) => match &shape.operator {
                OrderedOperator::Window(_) => window_times(plan, &None),
                operator => {
                    let Some(behind_us) = behind_us(operator) else { return Vec::new() };
                    let time = |column| ViewTime { column, ahead_us: -behind_us, disorder_us: behind_us };
                    columns.filter(|column| self.is_kept_time(plan, *column, shape)).map(time).collect()
                }
            },
        }
    }

    /// Whether a column is the event time of an input of the operator, and rows are in the order of that.
    fn is_kept_time(&self, plan: &LogicalPlan, column: usize, shape: &OrderedShape) -> bool {
        let Origin::Table { table, column } = lineage::origin(plan, column) else { return false };
        let is_time_of = |n: usize| shape.inputs[n].stream == table && shape.inputs[n].time_column == column;
        match &shape.operator {
            OrderedOperator::AsOfJoin(_) => is_time_of(0) && !is_time_of(1),
            _ => (0..shape.inputs.len()).any(is_time_of),
        }
    }

    /// Indices of the columns of a stream or view that a query can go by.
    pub(super) fn time_columns(&self, table: &str) -> Vec<usize> {
        let streams = &self.pipeline.streams;
        match self.pipeline.materialized.get(table) {
            Some(view) => view.times.iter().map(|time| time.column).collect(),
            None => {
                streams.get(table).and_then(|s| s.event_time.as_ref()).map(|time| time.column).into_iter().collect()
            }
        }
    }

    /// The shape of a query: it goes by the time columns that it names, where rows have several.
    pub(super) fn shape_of(&self, plan: &LogicalPlan) -> Result<QueryShape, ShapeError> {
        let mut named: Vec<(String, usize)> = Vec::new();
        // The visitor never fails.
        let _ = lineage::for_each_window(plan, |window| {
            let index = window.input.schema().maybe_index_of_column(&window.time);
            if let Some(Origin::Table { table, column }) = index.map(|index| lineage::origin(&window.input, index)) {
                named.push((table, column));
            }
        });
        let choose = |choice: usize| {
            let event_time = |table: &str| {
                let columns = self.time_columns(table);
                let named = named.iter().find(|(name, column)| name == table && columns.contains(column));
                let other = columns.get(choice.min(columns.len().saturating_sub(1)));
                named.map(|(_, column)| column).or(other).copied()
            };
            QueryShape::of(plan, &|name| self.is_stream(name), &event_time)
        };
        let first = choose(0);
        match &first {
            // OVER and joins name their time in conditions: another column may be meant.
            Err(error) if matches!(error.code, "TC0330" | "TC0340") => {
                (1..WINDOW_TIMES.len()).find_map(|choice| choose(choice).ok()).map_or(first, Ok)
            }
            _ => first,
        }
    }

    /// What is wrong with a window over rows that another query has made; `None` where it is over other rows.
    pub(super) fn window_over_view(&self, window: &WindowNode, tables: &[String]) -> Option<Option<Mistake>> {
        let index = window.input.schema().maybe_index_of_column(&window.time)?;
        let origin = lineage::origin(&window.input, index);
        let view = tables.iter().find_map(|table| self.pipeline.materialized.get(table));
        if let (Some(view), Origin::Table { table, column }) = (view, &origin)
            && *table == view.name
            && view.times.iter().any(|time| time.column == *column)
        {
            return Some(None);
        }
        let mut is_nested = false;
        // The visitor never fails.
        let _ = lineage::for_each_window(&window.input, |_| is_nested = true);
        let is_aggregate = |node: &LogicalPlan| Ok(matches!(node, LogicalPlan::Aggregate(_)));
        let has_results = window.input.exists(is_aggregate).expect("the visitor never fails");
        // Where there are no results of windows below, that is what is wrong with it.
        if is_nested && (matches!(origin, Origin::Window(_)) || !has_results) {
            return Some(None);
        }
        let times: Vec<&str> = match view {
            Some(view) => view.times.iter().map(|time| view.schema.field(time.column).name().as_str()).collect(),
            None if is_nested => vec![WINDOW_COLUMNS[2], WINDOW_COLUMNS[1], WINDOW_COLUMNS[0]],
            None => return None,
        };
        let what = match view {
            Some(view) => format!("the view \"{}\"", view.name),
            None => "the windows below".to_owned(),
        };
        let message = format!("\"{}\" is not a time of {what}", window.time.name);
        let hint = match times.as_slice() {
            [] => "add window_end, or the event time, to the columns of the view".to_owned(),
            times => format!("go by {}", times.join(" or ")),
        };
        Some(Some((codes::WINDOW_TIME, window.time.clone(), message, hint)))
    }
}

/// The columns of a plan that come from windows. `longest_us`: the length of the longest window, where it is fixed.
fn window_times(plan: &LogicalPlan, longest_us: &Option<i64>) -> Vec<ViewTime> {
    let columns = 0..plan.schema().fields().len();
    let of = |name: &str| {
        let ahead_us = match name {
            name if name == WINDOW_COLUMNS[1] => Some(1),
            name if name == WINDOW_COLUMNS[2] => Some(0),
            _ => longest_us.map(|longest_us| 1 - longest_us),
        };
        let is_it = |column: &usize| lineage::origin(plan, *column) == Origin::Window(name.to_owned());
        let column = columns.clone().find(is_it);
        column.zip(ahead_us).map(|(column, ahead_us)| ViewTime { column, ahead_us, disorder_us: 0 })
    };
    WINDOW_TIMES.iter().filter_map(|name| of(name)).collect()
}

/// How far behind the watermark the rows of an operator may be; `None` where that is not known.
fn behind_us(operator: &OrderedOperator) -> Option<i64> {
    match operator {
        OrderedOperator::Window(_) => Some(0),
        OrderedOperator::Over(shape) => over_behind_us(shape),
        OrderedOperator::AsOfJoin(_) => Some(0),
        // Alerts go into no view.
        OrderedOperator::Absence(_) => None,
        OrderedOperator::Join(join) if join.join_type != JoinType::Inner => None,
        OrderedOperator::Join(join) => Some(match join.reach {
            JoinReach::Interval { min_us, max_us } => min_us.saturating_abs().max(max_us.saturating_abs()),
            JoinReach::Window { size_us, .. } => size_us,
        }),
    }
}

/// A row waits for the end of its frames.
fn over_behind_us(shape: &OverShape) -> Option<i64> {
    let ahead_us = |function: &OverFunction| match function {
        function if !function.looks_ahead() => Some(0),
        OverFunction::Aggregate { frame: Frame::Range { end_us, .. }, .. }
        | OverFunction::Window { frame: Frame::Range { end_us, .. }, .. } => Some(*end_us + 1),
        _ => None,
    };
    shape.calls.iter().map(|call| ahead_us(&call.function)).try_fold(0, |most, us| Some(most.max(us?)))
}

impl Window {
    /// Length of the longest window, where all have one that is fixed.
    pub(super) fn longest_us(&self) -> Option<i64> {
        match self {
            Self::Tumble { size_us, .. } | Self::Hop { size_us, .. } | Self::Cumulate { size_us, .. } => Some(*size_us),
            Self::Calendar(_) => None,
        }
    }
}
