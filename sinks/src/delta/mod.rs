//! `delta`: an append-only Delta table, every row exactly once. The offset up to which a feed was delivered is an
//! application transaction of the very commit that adds the rows, so rows and position are never apart.

mod options;
mod sink;
mod stats;
mod table;
#[cfg(test)]
mod tests;

use crate::connector::{Accepts, Connector, Guarantee};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "delta",
    summary: "a Delta table that DuckDB, Spark and warehouses read",
    guarantee: Guarantee::ExactlyOnce,
    accepts: Accepts::Rows,
    takes_updates: false,
    options: options::OPTIONS,
    check: options::check,
    open: |context| Ok(Box::new(sink::DeltaSink::open(context)?)),
};
