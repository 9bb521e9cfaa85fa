//! `blackhole`: takes every row and keeps none. For a sink that a variable switches off, and to measure a pipeline
//! without its destination.

use std::time::Duration;

use async_trait::async_trait;

use crate::connector::{Accepts, Connector, Guarantee};
use crate::error::Result;
use crate::sink::{Delivery, Limits, Outcome, Sink};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "blackhole",
    summary: "takes every row and keeps none",
    guarantee: Guarantee::Idempotent,
    accepts: Accepts::Rows,
    takes_updates: true,
    options: &[],
    check: |_, _| Vec::new(),
    open: |_| Ok(Box::new(BlackholeSink)),
};

/// Drops what it is given.
#[derive(Debug)]
struct BlackholeSink;

#[async_trait]
impl Sink for BlackholeSink {
    fn limits(&self) -> Limits {
        Limits { max_rows: 100_000, linger: Duration::ZERO }
    }

    async fn write(&mut self, _: &[Delivery]) -> Result<Outcome> {
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{MemoryLog, sensor_rows};

    #[tokio::test]
    async fn every_row_is_taken() {
        let rows = sensor_rows(0..10);
        let log = MemoryLog::new("rows", 0, rows.schema());
        log.append(&rows);
        assert_eq!(BlackholeSink.write(&[log.delivery(0..10)]).await.unwrap(), Outcome::default());
    }
}
