//! Snapshots on their way to the disk, while the query reads on.
//!
//! The state is taken where it stands, which is a copy in memory; encoding, writing and syncing it is another thread's. A
//! snapshot counts once it is committed, so nothing waits for it; recovery reads more rows meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use tokio::sync::Notify;

use crate::error::Result;

/// The snapshots of a query's partitions, one under way for each.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    under_way: Vec<UnderWay>,
    written: Arc<Notify>,
}

#[derive(Debug)]
struct UnderWay {
    snapshot: Snapshot,
    result: Receiver<Result<()>>,
}

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) partition: u32,
    pub(super) file: String,
    /// First offset that is not in it.
    pub(super) next_offset: u64,
}

impl Snapshots {
    /// Whether one of a partition is under way: another would only wait for it.
    pub(super) fn is_writing(&self, partition: u32) -> bool {
        self.under_way.iter().any(|under_way| under_way.snapshot.partition == partition)
    }

    /// Writes a snapshot in the background.
    pub(super) fn begin(&mut self, snapshot: Snapshot, write: impl FnOnce() -> Result<()> + Send + 'static) {
        let (sender, result) = channel();
        let written = Arc::clone(&self.written);
        tokio::task::spawn_blocking(move || {
            // Nobody listens where the query is gone.
            let _ = sender.send(write());
            written.notify_one();
        });
        self.under_way.push(UnderWay { snapshot, result });
    }

    /// Those that are written by now, or could not be.
    pub(super) fn written(&mut self) -> Vec<(Snapshot, Result<()>)> {
        let mut written = Vec::new();
        self.under_way.retain(|under_way| match under_way.result.try_recv() {
            Ok(result) => {
                written.push((under_way.snapshot.clone(), result));
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Disconnected) => false,
        });
        written
    }

    /// Waits until all are written. It blocks for the time that the disk takes.
    pub(super) fn finish(&mut self) -> Vec<(Snapshot, Result<()>)> {
        let under_way = std::mem::take(&mut self.under_way);
        let done =
            under_way.into_iter().filter_map(|under_way| Some((under_way.snapshot, under_way.result.recv().ok()?)));
        done.collect()
    }

    /// Resolves when one more is written.
    pub(super) fn notified(&self) -> impl Future<Output = ()> + use<> {
        let written = Arc::clone(&self.written);
        async move { written.notified().await }
    }
}

/// A query that is gone writes no file any more.
impl Drop for Snapshots {
    fn drop(&mut self) {
        self.finish();
    }
}
