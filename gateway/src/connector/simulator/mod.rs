//! The `simulator` connector: a plant of devices whose readings wander, spike and go silent. Its rows are a function of
//! the options alone, whatever the pacing and however often it was restarted; the position is the number of the next row.

mod columns;
mod config;
mod noise;
mod plant;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::columns::Filler;
use self::config::{Pace, SimulatorConfig};
use self::plant::Plant;
use super::committer::Committer;
use super::{Connector, ConnectorContext, ConnectorEnd, ConnectorStatus, OptionProblem};
use crate::append::Append;
use crate::error::Result;
use crate::metadata::Arrival;

/// Rows of one commit at most.
const BATCH_ROWS: u64 = 16 << 10;
/// Paced rows are committed this often.
const TICK: Duration = Duration::from_millis(100);

/// Makes rows.
#[derive(Debug)]
pub(crate) struct Simulator {
    config: SimulatorConfig,
    status: Arc<ConnectorStatus>,
}

/// Where it is, as it is committed with the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// Number of the next row.
    row: u64,
    /// Event time of row 0, in microseconds.
    start_us: i64,
    /// Wall-clock time at which row 0 was due, in microseconds.
    due_us: i64,
}

impl Simulator {
    pub(crate) fn new(options: &BTreeMap<String, String>) -> Result<Self, Vec<OptionProblem>> {
        Ok(Self { config: SimulatorConfig::read(options)?, status: Arc::default() })
    }

    /// Rows that are due and may be made at once, up to row `end`; `None` when the next is not due yet.
    fn due(&self, position: &Position, now_us: i64) -> Option<u64> {
        let left = self.config.rows.unwrap_or(u64::MAX) - position.row;
        let due = match self.config.pace {
            Pace::Max => u64::MAX,
            Pace::Factor(factor) => {
                let elapsed_s = now_us.saturating_sub(position.due_us).max(0) as f64 / 1e6;
                // Saturates at the ends, as it should. Row 0 is due at once.
                ((elapsed_s * self.config.rate * factor) as u64).saturating_add(1).saturating_sub(position.row)
            }
        };
        Some(due.min(left).min(BATCH_ROWS)).filter(|due| *due > 0)
    }
}

#[async_trait]
impl Connector for Simulator {
    fn status(&self) -> Arc<ConnectorStatus> {
        Arc::clone(&self.status)
    }

    fn is_finite(&self) -> bool {
        self.config.rows.is_some()
    }

    async fn run(self: Box<Self>, context: ConnectorContext) -> Result<ConnectorEnd> {
        let committer = Committer::new(context, Arc::clone(&self.status), "simulator");
        let clock = Arc::clone(&committer.context.clock);
        let key = committer.key("position");
        let now_us = clock.now_us();
        let mut position = committer.position(&key)?.unwrap_or_else(|| Position {
            row: 0,
            start_us: self.config.start_us.unwrap_or(now_us),
            due_us: now_us,
        });
        let shape = Arc::clone(&committer.open.shape);
        let plant = Arc::new(Plant::new(&self.config, position.start_us));
        let filler = Arc::new(Filler::new(&shape, &self.config)?);
        while self.config.rows.is_none_or(|rows| position.row < rows) {
            if committer.is_stopped() {
                return Ok(ConnectorEnd::Stopped);
            }
            let Some(due) = self.due(&position, clock.now_us()) else {
                if !committer.sleep(TICK).await {
                    return Ok(ConnectorEnd::Stopped);
                }
                continue;
            };
            let end = position.row + due;
            let (plant, filler, first) = (Arc::clone(&plant), Arc::clone(&filler), position.row);
            let work = move || filler.fill(&plant, first..end);
            let rows = if due < 256 { work()? } else { tokio::task::spawn_blocking(work).await?? };
            let next = Position { row: end, ..position };
            let append = Append::of_rows(rows, &committer.open, &Arrival::at(clock.now_us()))?;
            if !committer.commit(&append, &key, &next).await? {
                return Ok(ConnectorEnd::Stopped);
            }
            position = next;
        }
        committer.finish();
        Ok(ConnectorEnd::Finished)
    }
}

#[cfg(test)]
mod tests;
