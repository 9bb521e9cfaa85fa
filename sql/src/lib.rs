//! The SQL dialect: a folder of statements becomes a checked [`Pipeline`], or a list of [`Diagnostic`]s.
//!
//! ```text
//!  text ─lex─▶ statements' tokens ─parse─▶ statements ─check─▶ Pipeline
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adhoc;
mod asof;
mod ast;
mod blame;
mod bounds;
mod catalog;
mod check;
mod codes;
mod diagnostic;
mod functions;
mod inspect;
mod lex;
mod lineage;
mod nodes;
mod parse;
mod pipeline;
mod plan_error;
mod relation;
mod session;
mod shape;
mod source;
mod strict;
mod suggest;
mod types;
mod units;

pub use crate::adhoc::plan_query;
pub use crate::check::{Checked, check};
pub use crate::codes::{codes, explain};
pub use crate::diagnostic::{Diagnostic, Severity};
pub use crate::functions::in_time_order;
pub use crate::lineage::stream_column;
pub use crate::nodes::{
    KEYED_WINDOW_TIME, KeyedWindowNode, PlaceholderNode, WINDOW_COLUMNS, WindowNode, timestamp_type,
};
pub use crate::pipeline::{
    AlertConditions, AlertDef, AlertRule, EventTime, MaterializedDef, Metadata, MetadataColumn, OptionEntry,
    OptionValue, Options, Pipeline, QueryDef, SinkDef, StreamDef, TableDef, TableFormat, Target, TimestampUnit,
    ViewDef, ViewTime,
};
pub use crate::pipeline::{Early, Emit};
pub use crate::session::{EventTimes, register_dialect, session_config};
pub use crate::shape::{
    Absence, AsOfJoin, Frame, GroupColumn, JoinReach, JoinedRows, KeyEnd, KeyedAggregate, KeyedWindow,
    KeyedWindowFunction, Numbering, OrderedInput, OrderedOperator, OrderedShape, OverCall, OverFunction, OverPartition,
    OverShape, QueryShape, ShapeError, StreamJoin, Window, WindowFunction, WindowedShape,
};
pub use crate::shape::{CalendarExtent, CalendarLength, CalendarWindow, TimeZone};
pub use crate::source::{LoadError, SourceFile, Span, load};
pub use crate::types::sql_name;
pub use crate::units::size_bytes;
