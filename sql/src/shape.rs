//! The shape of a continuous query: which part runs row by row, which window closes, what runs above it.
//!
//! ```text
//!  Stateless:  stream ─▶ input plan ─▶ rows
//!  Windowed:   stream ─▶ input plan ─▶ aggregate by window ─▶ output plan, once per closed window ─▶ rows
//!  Ordered:    streams ─▶ input plans ─▶ rows in event-time order ─▶ operator ─▶ output plan, row by row ─▶ rows
//! ```
//!
//! The parts are cut out of one logical plan. Where a part reads what another made, its leaf is a
//! [`PlaceholderNode`](crate::PlaceholderNode) of the same schema.

mod absence;
mod analysis;
mod calendar;
mod history;
mod join;
mod join_condition;
mod ordered;
mod over;
mod over_output;
mod refused;

pub use absence::Absence;
pub use over::{Frame, KeyEnd, Numbering, OverCall, OverFunction, OverPartition, OverShape};

use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};

pub use calendar::{CalendarExtent, CalendarLength, CalendarWindow, TimeZone};

pub(crate) use history::over_history;
pub(crate) use ordered::check_row_by_row_output;
pub(crate) use refused::undetermined;

/// Windows of one key that may be open at once.
pub(crate) const MAX_OVERLAPPING: u32 = 1_000;

/// Why a query cannot run continuously.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeError {
    /// Diagnostic code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

fn error(code: &'static str, message: &str, hint: &str) -> ShapeError {
    ShapeError { code, message: message.into(), hint: hint.into() }
}

/// A continuous query, cut into the parts the engine runs.
#[derive(Debug, Clone)]
pub enum QueryShape {
    /// Filters, projections and joins with reference tables of one stream: each row by itself.
    Stateless {
        /// The stream.
        stream: String,
        /// The plan; its only stream scan is of `stream`.
        input: LogicalPlan,
    },
    /// A windowed aggregate of one stream.
    Windowed(Box<WindowedShape>),
    /// Rows of one or more streams, taken in event-time order.
    Ordered(Box<OrderedShape>),
}

impl QueryShape {
    /// The streams that the query reads; one that it reads twice stands twice.
    #[must_use]
    pub fn streams(&self) -> Vec<&str> {
        match self {
            Self::Stateless { stream, .. } => vec![stream],
            Self::Windowed(shape) => vec![&shape.stream],
            Self::Ordered(shape) => shape.inputs.iter().map(|input| input.stream.as_str()).collect(),
        }
    }
}

/// A windowed aggregate.
#[derive(Debug, Clone)]
pub struct WindowedShape {
    /// The stream.
    pub stream: String,
    /// Index of its event time.
    pub time_column: usize,
    /// From the stream to the rows that are aggregated; window columns are NULL in it.
    pub input: LogicalPlan,
    /// The windows.
    pub window: Window,
    /// Grouping expressions over `input`'s output, window columns included, in the order of the aggregate's output.
    pub group: Vec<GroupColumn>,
    /// Aggregate function calls over `input`'s output.
    pub aggregates: Vec<Expr>,
    /// What runs once per closed window; its leaf is a placeholder with the aggregate's schema.
    pub output: LogicalPlan,
}

/// One grouping column of a windowed aggregate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub enum GroupColumn {
    /// An expression over the input.
    Key(Expr),
    /// `window_start`
    WindowStart,
    /// `window_end`
    WindowEnd,
    /// `window_time`, one microsecond before `window_end`
    WindowTime,
}

/// A query that takes its rows in event-time order.
#[derive(Debug, Clone)]
pub struct OrderedShape {
    /// What it reads; the operator knows an input by its position.
    pub inputs: Vec<OrderedInput>,
    /// What it makes of the ordered rows.
    pub operator: OrderedOperator,
    /// What runs over the rows that the operator emits, each by itself; its leaf is a placeholder with their schema.
    pub output: LogicalPlan,
}

/// One stream of an ordered query.
#[derive(Debug, Clone)]
pub struct OrderedInput {
    /// The stream; rows are ordered by its event time.
    pub stream: String,
    /// Index of that.
    pub time_column: usize,
    /// From the stream to exactly the columns that the operator takes.
    pub plan: LogicalPlan,
}

/// What an ordered query does with its rows.
#[derive(Debug, Clone)]
pub enum OrderedOperator {
    /// Per key, windows that its rows make, aggregated.
    Window(KeyedWindow),
    /// Each row of the only input with the results of window calls.
    Over(OverShape),
    /// Pairs of rows of two inputs with the same key, near each other in event time.
    Join(Box<StreamJoin>),
    /// Each row of the first input with the latest row of the second that has the same key.
    AsOfJoin(Box<AsOfJoin>),
    /// Keys of the only input that fall silent, and that are heard again.
    Absence(Box<Absence>),
}

/// Windows that the rows of a key make, aggregated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub struct KeyedWindow {
    /// Which rows a window has.
    pub function: KeyedWindowFunction,
    /// Keys and functions, over the columns of the only input.
    pub aggregate: KeyedAggregate,
}

/// Which rows a window of a key has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub enum KeyedWindowFunction {
    /// `SESSION`
    Session {
        /// In microseconds.
        gap_us: i64,
    },
    /// `COUNT_WINDOW`
    Count {
        /// In each window.
        rows: u32,
        /// From the first row of a window to that of the next.
        slide: u32,
    },
    /// `STATE_WINDOW`
    State {
        /// A column of the input: what a row does to a window, as a sum of [`STARTS`](Self::STARTS) and
        /// [`ENDS`](Self::ENDS) in microseconds since 1970.
        mark: Expr,
    },
}

/// What both inputs of a join give: first the keys, in the same order, then the other columns that are needed.
#[derive(Debug, Clone)]
pub struct JoinedRows {
    /// How many keys there are. NULL is equal to nothing.
    pub keys: usize,
    /// How many columns each input gives after its keys; an input that would give none at all has one that is not used.
    pub columns: [usize; 2],
    /// The columns of joined rows: those of the first input, then those of the second.
    pub schema: DFSchemaRef,
}

/// A join of two inputs by key and event time.
#[derive(Debug, Clone)]
pub struct StreamJoin {
    /// Inner, left, right or full.
    pub join_type: JoinType,
    /// Keys and columns.
    pub rows: JoinedRows,
    /// Which rows are near enough.
    pub reach: JoinReach,
    /// What else a pair must fulfil, over the joined rows.
    pub residual: Option<Expr>,
}

/// Which rows of two inputs can be a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinReach {
    /// Rows whose event times differ by no less than `min_us` and no more than `max_us`: the first's minus the second's.
    Interval {
        /// In microseconds.
        min_us: i64,
        /// In microseconds.
        max_us: i64,
    },
    /// Rows of the same tumbling window.
    Window {
        /// Length in microseconds.
        size_us: i64,
        /// Shift of the alignment in microseconds.
        offset_us: i64,
    },
}

/// A join of each row of the first input with the latest of the second.
#[derive(Debug, Clone)]
pub struct AsOfJoin {
    /// Keys and columns.
    pub rows: JoinedRows,
    /// Whether the match must be earlier (`>`), not also of the same time (`>=`).
    pub strictly_earlier: bool,
    /// How much earlier it may be, in microseconds; for ever when `None`.
    pub max_age_us: Option<i64>,
}

impl KeyedWindowFunction {
    /// The start condition holds.
    pub const STARTS: i64 = 1;
    /// The end condition holds.
    pub const ENDS: i64 = 2;
}

impl std::fmt::Display for KeyedWindowFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session { gap_us } => write!(f, "SESSION {} s", *gap_us as f64 / 1e6),
            Self::Count { rows, slide } if rows == slide => write!(f, "COUNT_WINDOW {rows} rows"),
            Self::Count { rows, slide } => write!(f, "COUNT_WINDOW {slide} / {rows} rows"),
            Self::State { .. } => write!(f, "STATE_WINDOW"),
        }
    }
}

/// Grouping columns and functions over the columns of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub struct KeyedAggregate {
    /// In the order of the aggregate's output; keys are columns of the input.
    pub group: Vec<GroupColumn>,
    /// Calls of aggregate functions over columns of the input, and literals.
    pub aggregates: Vec<Expr>,
}

/// A window function in FROM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub enum WindowFunction {
    /// Windows whose borders the clock gives.
    Aligned(Window),
    /// `SESSION(input, time, gap)`: per key, as long as rows are less than a gap apart; the end is a gap after the last.
    Session {
        /// In microseconds.
        gap_us: i64,
    },
    /// `COUNT_WINDOW(input, rows [, slide])`: per key, so many rows in event-time order; the end is a microsecond after the
    /// last. A window that is not full is not emitted.
    Count {
        /// In each window.
        rows: u32,
        /// From the first row of a window to that of the next: rows are in several windows where it is less than `rows`, and
        /// some in none where it is more.
        slide: u32,
    },
    /// `STATE_WINDOW(input, start_condition, end_condition)`: per key, from a row for which the first holds to the next row
    /// for which the second does, both included; the end is a microsecond after the last. Where no window is open and both
    /// hold, the row is a window by itself. NULL does not hold.
    State {
        /// Over the columns of the input.
        start: Box<Expr>,
        /// Over the columns of the input.
        end: Box<Expr>,
    },
}

impl WindowFunction {
    /// What it is called, where the rows make its windows.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Aligned(_) => "a window",
            Self::Session { .. } => "SESSION",
            Self::Count { .. } => "COUNT_WINDOW",
            Self::State { .. } => "STATE_WINDOW",
        }
    }
}

impl std::fmt::Display for WindowFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aligned(window) => window.fmt(f),
            Self::Session { gap_us } => write!(f, "SESSION {} s", *gap_us as f64 / 1e6),
            Self::Count { rows, slide } => write!(f, "COUNT_WINDOW {slide} / {rows} rows"),
            Self::State { start, end } => write!(f, "STATE_WINDOW from {start} to {end}"),
        }
    }
}

/// Windows of event time, aligned to the epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub enum Window {
    /// `TUMBLE(input, time, size)`
    Tumble {
        /// Length in microseconds.
        size_us: i64,
        /// Shift of the alignment in microseconds.
        offset_us: i64,
    },
    /// `HOP(input, time, slide, size)`
    Hop {
        /// Distance of two windows' starts in microseconds.
        slide_us: i64,
        /// Length in microseconds.
        size_us: i64,
        /// Shift of the alignment in microseconds.
        offset_us: i64,
    },
    /// `CUMULATE(input, time, step, size)`: of every stretch of a size, the windows that begin with it and end after one
    /// step, two steps … and the whole.
    Cumulate {
        /// By how much each window is longer than the one before, in microseconds; `size_us` is a multiple of it.
        step_us: i64,
        /// Length of the longest in microseconds.
        size_us: i64,
        /// Shift of the alignment in microseconds.
        offset_us: i64,
    },
    /// Any of these with `TIME ZONE '…'`.
    Calendar(CalendarWindow),
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tumble { size_us, .. } => write!(f, "TUMBLE {} s", *size_us as f64 / 1e6),
            Self::Hop { slide_us, size_us, .. } => {
                write!(f, "HOP {} s / {} s", *slide_us as f64 / 1e6, *size_us as f64 / 1e6)
            }
            Self::Cumulate { step_us, size_us, .. } => {
                write!(f, "CUMULATE {} s / {} s", *step_us as f64 / 1e6, *size_us as f64 / 1e6)
            }
            Self::Calendar(window) => window.fmt(f),
        }
    }
}
