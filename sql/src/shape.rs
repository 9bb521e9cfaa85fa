//! The shape of a continuous query: which part runs row by row, which window closes, what runs above it.
//!
//! ```text
//!  Stateless:  stream ─▶ input plan ─▶ rows
//!  Windowed:   stream ─▶ input plan ─▶ aggregate by window ─▶ output plan, once per closed window ─▶ rows
//! ```
//!
//! The parts are cut out of one logical plan. Where a part reads what another made, its leaf is a
//! [`PlaceholderNode`](crate::PlaceholderNode) of the same schema.

mod analysis;
mod calendar;

use datafusion::logical_expr::{Expr, LogicalPlan};

pub use calendar::{CalendarExtent, CalendarLength, CalendarWindow, TimeZone};

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
}

/// A windowed aggregate.
#[derive(Debug, Clone)]
pub struct WindowedShape {
    /// The stream.
    pub stream: String,
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
#[derive(Debug, Clone)]
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
