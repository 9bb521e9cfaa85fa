//! The real binary, end to end: real input, real files, real servers where there are any to install.
//!
//! One test binary for all of it, so that it is linked once. Whoever looks for a behaviour finds it by the module's name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod archive;
mod backup;
mod duckdb;
mod evolution;
mod examples;
mod full_disk;
mod influxdb;
mod lifecycle;
mod memory;
mod mistakes;
mod support;
