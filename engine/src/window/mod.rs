//! Windowed aggregates from panes.
//!
//! ```text
//!  rows of a partition ─▶ assign: pane, first window that still takes the row ─▶ keyed accumulators of that pane
//!  watermark passes a window's end ─▶ merge its panes, partition by partition ─▶ one row per key, in key order
//! ```
//!
//! Where lateness is allowed, panes stay until it has passed, rows that come after their window was closed go to panes of
//! their own, and the window is emitted again.
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
mod update;
mod zone;

pub(crate) use aggregate::{Evaluated, WindowAggregate};
pub(crate) use assign::{Assigner, Assignment};
pub(crate) use operator::{Closed, Openness, PartitionState, PartitionWindows, Position, Previews, WindowOperator};
pub(crate) use snapshot::{read_snapshot, write_snapshot};

#[cfg(test)]
mod tests;
