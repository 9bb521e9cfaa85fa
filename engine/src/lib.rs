//! The continuous-query engine: event time, windows, alerts, recovery, and ad-hoc queries, over the log.
//!
//! The result of a query is a function of the rows it reads, not of how they came: any split into batches, any crash
//! and restart give the same output. The engine never reads the wall clock; see [`Clock`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adhoc;
mod alert;
mod clock;
mod condition;
mod continuous_query;
mod engine;
mod error;
mod feed;
mod gap;
mod json;
mod keyed;
mod keyed_window_exec;
mod late;
mod log_table;
mod memory;
mod order;
mod ordered;
mod per_key;
mod query;
mod session;
mod snapshot;
mod stage;
mod stored_schema;
mod tables;
mod views;
mod watermark;
mod window;
mod window_exec;

pub use crate::adhoc::AdHoc;
pub use crate::alert::alert_event_schema;
pub use crate::clock::{Clock, MonotonicClock};
pub use crate::engine::{Engine, EngineSettings, check};
pub use crate::error::{Error, ErrorClass, Result};
pub use crate::feed::{Feed, FeedBatch};
pub use crate::late::{late_schema, late_stream_name};
pub use crate::memory::{default_memory_limit, machine_memory_bytes};
pub use crate::query::QueryStatus;
