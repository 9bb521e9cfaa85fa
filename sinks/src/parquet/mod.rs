//! `parquet`: files in folders, idempotent. A file's name carries the offsets it holds, so that a repeated delivery
//! takes the place of the first.

mod naming;
mod options;
mod sink;
#[cfg(test)]
mod tests;

use crate::connector::{Accepts, Connector, Guarantee};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "parquet",
    summary: "Parquet files in folders",
    guarantee: Guarantee::Idempotent,
    accepts: Accepts::Rows,
    takes_updates: false,
    options: options::OPTIONS,
    check: options::check,
    open: |context| Ok(Box::new(sink::ParquetSink::open(context)?)),
};
