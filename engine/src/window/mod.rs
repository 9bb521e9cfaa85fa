//! Windowed aggregates from panes.
//!
//! ```text
//!  rows of a partition ─▶ sort_rows: pane, first window that still takes the row ─▶ store: one slot per key and pane
//!  watermark passes a window's end ─▶ add up its panes (blocks) ─▶ put partitions together ─▶ one row per key, in key order
//! ```
//!
//! Where lateness is allowed, panes stay until it has passed, rows that come after their window was closed go to panes of
//! their own, and the window is emitted again.
//!
//! What a window holds is a function of the rows: a row's own partition decides whether it is late, rows are added in
//! offset order, and panes are added up in an order that event times alone determine.

mod aggregate;
mod assign;
mod blocks;
mod calendar;
mod checkpoint;
mod given_keys;
mod groups;
mod known_panes;
mod merge;
mod operator;
mod pane;
mod partition;
mod ranks;
mod snapshot;
mod sort_rows;
mod store;
mod update;
mod zone;

pub(crate) use aggregate::WindowAggregate;
pub(crate) use assign::{Assigner, Assignment};
pub(crate) use checkpoint::PartitionState;
pub(crate) use given_keys::GivenKeys;
pub(crate) use operator::{Closed, Due, Part, Position, WindowOperator};
pub(crate) use partition::{Openness, PartitionWindows, Previews};

#[cfg(test)]
pub(crate) mod tests;
