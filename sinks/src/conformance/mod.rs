//! The suite that every sink must pass; it ships with the trait, so that a sink outside this crate can run it too.
//!
//! A [`Harness`] says how to open the sink at one fresh destination, how to read that destination back, and how to
//! make it fail. Each function of [`suite`] panics where the sink breaks its promise.

mod gate;
mod harness;
mod memory;
mod rows;
pub mod suite;

pub use self::gate::{Fault, Gate};
pub use self::harness::Harness;
pub use self::memory::{MemoryFeed, MemoryLedger, MemoryLog};
pub use self::rows::{alert_rows, odd_rows, row_json, sensor_rows, sensor_schema};
