//! thermocline: hot, warm and cold paths for sensor streams, in one process.
//!
//! A [`Server`] runs a pipeline, a folder of SQL, over a data directory:
//!
//! ```text
//!  connectors, HTTP ─▶ log ─▶ continuous queries ─▶ log ─▶ sinks
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod backup;
mod control;
mod delivery;
mod error;
mod intake;
mod load;
mod queries;
mod secrets;
mod server;
mod status;
mod stored;

pub use crate::backup::backup_data_dir;
pub use crate::error::{Error, Result, with_causes};
pub use crate::load::{Env, Findings, load, missing_secrets};
pub use crate::queries::{explain, query_data_dir};
pub use crate::server::{Server, ServerSettings, server_address};
pub use crate::status::{ConnectorReport, QueryReport, SinkReport, StatusReport};
pub use crate::stored::stored_conflict;
