//! Materialized views, and the rows between the parts of a query: a stream of the log that a continuous query writes, how far
//! that query has got for those who read on, and the current row of each key for those who ask.

mod current;
mod outlet;
mod streams;
mod table;

pub(crate) use outlet::{Grid, Inlet, Outlet, told};
pub(crate) use streams::{StoredView, View, create_view, stored_views};
pub(crate) use table::CurrentTable;
