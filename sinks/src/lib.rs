//! Where rows go: the [`Sink`] contract, the [`Runner`] that drives one, and every sink.
//!
//! A sink reads rows of feeds, each with a durable cursor, and promises what a repeated delivery does at its
//! destination. [`connectors`] lists what there is, [`check`] finds every mistake in a sink's options without touching
//! the network, [`open`] makes the sink, and a [`Runner`] drives it until its [`Phase`] says otherwise.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod alert;
mod blackhole;
mod columnar;
mod columns;
#[doc(hidden)]
pub mod conformance;
mod connector;
mod console;
mod delta;
mod error;
mod http;
mod identity;
mod influxdb;
mod json;
mod options;
mod pagerduty;
mod parquet;
mod runner;
mod settings;
mod sink;
mod webhook;

pub use crate::alert::{AlertAction, AlertBatch, AlertEvent, alert_schema, is_alert_schema};
pub use crate::connector::{Accepts, Connector, Guarantee, check, connectors, open};
pub use crate::error::{Error, ErrorClass, Result};
pub use crate::options::{OptionKind, OptionProblem, OptionSpec, options_markdown};
pub use crate::runner::{Backoff, Phase, Runner, SinkState, SinkStatus};
pub use crate::settings::{Secret, SinkOption, SinkSettings};
pub use crate::sink::{Delivery, Feed, FeedId, FeedRows, Ledger, Limits, Outcome, Rejected, RejectedRow, Sink};
