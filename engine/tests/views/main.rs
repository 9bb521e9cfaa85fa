//! Materialized views, chains of queries, and windows over windows.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../common/mod.rs"]
mod common;

mod asked;
mod crash;
mod oracle;
