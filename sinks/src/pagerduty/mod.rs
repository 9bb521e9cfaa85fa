//! `pagerduty`: alert events through the Events API v2. A repeated event carries the same `dedup_key`, which PagerDuty
//! folds into the incident that is open.

mod coalesce;
mod encoding;
mod options;
mod rate;
mod sink;
#[cfg(test)]
mod tests;

use crate::connector::{Accepts, Connector, Guarantee};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "pagerduty",
    summary: "incidents in PagerDuty (Events API v2)",
    guarantee: Guarantee::Idempotent,
    accepts: Accepts::Alerts,
    takes_updates: false,
    options: options::OPTIONS,
    check: options::check,
    open: |context| Ok(Box::new(sink::PagerDutySink::open(context)?)),
};
