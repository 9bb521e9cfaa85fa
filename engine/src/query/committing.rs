//! A query's commit on its way to the disk, while the query reads on.
//!
//! One commit is under way at a time, so that commits become durable in their order, and what a query says of itself is what
//! is durable.

use std::pin::Pin;

use thermocline_log::{Commit, Log, Receipt};
use tokio::sync::watch;

use super::{Control, Counters, Stored, commit_when_possible};
use crate::error::Result;

type Receiving = Pin<Box<dyn Future<Output = thermocline_log::Result<Receipt>> + Send>>;

/// A commit that may not be durable yet, or none.
#[derive(Default)]
pub(super) struct Committing {
    under_way: Option<(Commit, Receiving)>,
    measures: Option<Measures>,
}

impl std::fmt::Debug for Committing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committing").field("under_way", &self.under_way.is_some()).finish_non_exhaustive()
    }
}

/// Where a query stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measures {
    /// Rows between its position and the durable end.
    pub(super) lag: u64,
    /// Bytes of state.
    pub(super) state_bytes: u64,
    /// Sum of the offsets it has read up to.
    pub(super) position: u64,
}

impl Measures {
    fn publish<'a>(self, queries: impl Iterator<Item = &'a Counters>) {
        for counters in queries {
            counters.set_lag(self.lag);
            counters.set_position(self.position);
        }
    }
}

impl Committing {
    /// Queues a commit; `measures` are told once it is durable.
    pub(super) fn begin(log: &Log, commit: Commit, measures: Measures) -> Self {
        let receiving = Box::pin(log.commit(commit.clone()));
        Self { under_way: Some((commit, receiving)), measures: Some(measures) }
    }

    /// Whether a commit is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes note of rows that were read since and made nothing to commit.
    pub(super) fn then<'a>(&mut self, measures: Measures, queries: impl Iterator<Item = &'a Counters>) {
        match self.under_way {
            Some(_) => self.measures = Some(measures),
            None => measures.publish(queries),
        }
    }

    /// Waits until the commit is durable.
    pub(super) async fn settle<'a>(
        &mut self,
        log: &Log,
        control: &mut watch::Receiver<Control>,
        queries: impl Iterator<Item = &'a Counters>,
    ) -> Result<Stored> {
        let Some((commit, receiving)) = self.under_way.take() else { return Ok(Stored::Yes) };
        match receiving.await {
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                if commit_when_possible(log, commit, control).await? == Stored::Abandoned {
                    return Ok(Stored::Abandoned);
                }
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(measures) = self.measures.take() {
            measures.publish(queries);
        }
        Ok(Stored::Yes)
    }
}
