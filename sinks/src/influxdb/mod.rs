//! `influxdb`: rows as line protocol to InfluxDB 1 (`/write`) or 2 (`/api/v2/write`), and to what speaks the same.
//! Idempotent: a point with the same measurement, tags and time takes the place of the first.

mod line;
mod options;
mod reason;
mod sink;
#[cfg(test)]
mod tests;

use crate::connector::{Accepts, Connector, Guarantee};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "influxdb",
    summary: "points in InfluxDB 1 or 2, or whatever takes line protocol over HTTP",
    guarantee: Guarantee::Idempotent,
    accepts: Accepts::Rows,
    takes_updates: true,
    options: options::OPTIONS,
    check: options::check,
    open: |context| Ok(Box::new(sink::InfluxSink::open(context)?)),
};
