//! `webhook`: one signed HTTP POST a row or alert event, after the Standard Webhooks specification
//! (<https://www.standardwebhooks.com>). At least once: a repeated row carries the same `webhook-id`.

mod encoding;
mod options;
mod signature;
mod sink;
#[cfg(test)]
mod tests;

use crate::connector::{Accepts, Connector, Guarantee};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "webhook",
    summary: "one signed HTTP POST a row or alert event (Standard Webhooks)",
    guarantee: Guarantee::AtLeastOnce,
    accepts: Accepts::Rows,
    takes_updates: false,
    options: options::OPTIONS,
    check: options::check,
    open: |context| Ok(Box::new(sink::WebhookSink::open(context)?)),
};
