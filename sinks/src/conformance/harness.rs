//! What a sink's tests tell the suite.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use serde_json::Value;

use super::gate::Gate;
use crate::connector::Guarantee;
use crate::sink::Sink;

/// One fresh destination and the sink that writes to it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// What the sink promises.
    fn guarantee(&self) -> Guarantee;

    /// Opens the sink; again after a restart.
    fn open(&self) -> Box<dyn Sink>;

    /// Ordinary rows with these ids; [`sensor_rows`](super::sensor_rows) or [`alert_rows`](super::alert_rows).
    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch;

    /// What the destination holds: each row as JSON, as often as it is there, in any order.
    async fn stored(&self) -> Vec<Value>;

    /// How a row must look in [`stored`](Self::stored); `None` where the sink must reject it.
    fn expected(&self, row: Value) -> Option<Value> {
        Some(row)
    }

    /// Rows that are hard to write.
    fn odd_rows(&self) -> RecordBatch {
        super::odd_rows()
    }

    /// A row that the destination itself rejects for good, where there is such a thing.
    fn poison(&self) -> Option<RecordBatch> {
        None
    }

    /// The gate before the destination, for sinks that use the network.
    fn gate(&self) -> Option<&Gate> {
        None
    }

    /// Makes the destination unreachable.
    async fn take_down(&self) {
        if let Some(gate) = self.gate() {
            gate.close().await;
        }
    }

    /// Makes it reachable again.
    async fn bring_up(&self) {
        if let Some(gate) = self.gate() {
            gate.open().await.expect("the gate's port is free again");
        }
    }
}
