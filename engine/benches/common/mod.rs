//! What the engine's benchmarks share: arguments, the sensor workload and its queries, an engine over a log, what Linux counts
//! of this process, and figures with what they belong to.

#![allow(dead_code)] // each program uses a part of it

pub mod arguments;
pub mod counts;
pub mod engine;
pub mod figures;
pub mod machine;
pub mod workload;
