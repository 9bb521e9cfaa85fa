//! Windowed aggregates from panes.
//!
//! ```text
//!  rows of a partition ─▶ assign: pane, first window that still takes the row ─▶ keyed accumulators of that pane
//!  watermark passes a window's end ─▶ merge its panes, partition by partition ─▶ one row per key, in key order
//! ```
//!
//! What a window holds is a function of the rows: a row's own partition decides whether it is late, rows are added in
//! offset order, partial states are cut and merged at places that depend on offsets and event times alone.

mod aggregate;
mod assign;
mod calendar;
mod float_extremes;
mod groups;
mod operator;
mod pane;
mod snapshot;
mod zone;

pub(crate) use aggregate::{Evaluated, WindowAggregate};
pub(crate) use assign::Assigner;
pub(crate) use operator::{PartitionState, PartitionWindows, WindowOperator};
pub(crate) use snapshot::{read_snapshot, write_snapshot};

#[cfg(test)]
mod tests;
