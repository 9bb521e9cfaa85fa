//! Snapshots on their way to the disk, while the query reads on.
//!
//! What has changed is taken where it stands, which is a copy in memory; encoding, writing and syncing it, and putting it
//! together with what is stored, is another thread's. A snapshot counts once it is committed, so nothing waits for it; recovery
//! reads more rows meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError, channel};

use datafusion::error::DataFusionError;
use tokio::sync::Notify;

use super::chain::{Chain, NotStored};

/// The snapshots of a query's partitions, one under way for each.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// What is written of each partition.
    chains: Vec<Chain>,
    under_way: Vec<UnderWay>,
    written: Arc<Notify>,
}

#[derive(Debug)]
struct UnderWay {
    partition: u32,
    next_offset: u64,
    result: Receiver<Result<Chain, NotStored>>,
}

/// A snapshot that has ended.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) partition: u32,
    /// First offset that is not in it.
    pub(super) next_offset: u64,
    stored: Result<(), NotStored>,
}

/// What has become of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    /// Those before still stand, and the rows since stay in the log: recovery only reads more of them.
    NotStored,
    /// Nor can what is stored be added to: the next one has to be a whole one.
    Broken,
}

impl Written {
    /// What has become of it; the reason is logged where it could not be stored.
    pub(super) fn fate(&self, query: &str) -> Fate {
        match &self.stored {
            Ok(()) => Fate::Stored,
            Err(NotStored::File(error)) => {
                tracing::warn!(query, %error, "snapshot not written; the next one will be tried");
                Fate::NotStored
            }
            Err(NotStored::Chain(error)) => {
                tracing::warn!(query, %error, "snapshot cannot be read; the next one is a whole one");
                Fate::Broken
            }
        }
    }
}

impl Snapshots {
    /// What earlier lives have stored, by partition.
    pub(super) fn after(chains: Vec<Chain>) -> Self {
        Self { chains, under_way: Vec::new(), written: Arc::default() }
    }

    /// What is written of a partition.
    pub(super) fn chain(&self, partition: u32) -> &Chain {
        &self.chains[partition as usize]
    }

    /// Writes a snapshot in the background: `write` makes the partition's chain longer.
    pub(super) fn begin(
        &mut self,
        partition: u32,
        next_offset: u64,
        write: impl FnOnce(Chain) -> Result<Chain, NotStored> + Send + 'static,
    ) {
        let (sender, result) = channel();
        let (chain, written) = (self.chain(partition).clone(), Arc::clone(&self.written));
        tokio::task::spawn_blocking(move || {
            // Nobody listens where the query is gone.
            let _ = sender.send(write(chain));
            written.notify_one();
        });
        self.under_way.push(UnderWay { partition, next_offset, result });
    }

    /// Those that are written by now, or could not be.
    pub(super) fn written(&mut self) -> Vec<Written> {
        let mut written = Vec::new();
        for under_way in std::mem::take(&mut self.under_way) {
            match under_way.result.try_recv() {
                Ok(result) => written.push(self.end(&under_way, result)),
                Err(TryRecvError::Empty) => self.under_way.push(under_way),
                Err(TryRecvError::Disconnected) => written.push(self.end(&under_way, Err(without_a_word()))),
            }
        }
        written
    }

    /// Waits until all are written. It blocks for the time that the disk takes.
    pub(super) fn finish(&mut self) -> Vec<Written> {
        let under_way = std::mem::take(&mut self.under_way);
        let ended = under_way.into_iter().map(|under_way| {
            let result = under_way.result.recv().unwrap_or_else(|RecvError| Err(without_a_word()));
            self.end(&under_way, result)
        });
        ended.collect()
    }

    fn end(&mut self, under_way: &UnderWay, result: Result<Chain, NotStored>) -> Written {
        let UnderWay { partition, next_offset, .. } = *under_way;
        let chain = &mut self.chains[partition as usize];
        let stored = match result {
            Ok(longer) => {
                *chain = longer;
                Ok(())
            }
            Err(error) => {
                if matches!(error, NotStored::Chain(_)) {
                    *chain = Chain::default();
                }
                Err(error)
            }
        };
        Written { partition, next_offset, stored }
    }

    /// Resolves when one more is written.
    pub(super) fn notified(&self) -> impl Future<Output = ()> + use<> {
        let written = Arc::clone(&self.written);
        async move { written.notified().await }
    }
}

/// The thread that was to write it has panicked, or never began.
fn without_a_word() -> NotStored {
    NotStored::File(DataFusionError::Internal("a snapshot's thread ended without a word".into()).into())
}

/// A query that is gone writes no file any more.
impl Drop for Snapshots {
    fn drop(&mut self) {
        self.finish();
    }
}
