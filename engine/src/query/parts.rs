//! What the partitions of a windowed query make of the windows that are closed, side by side where that is worth it.

use std::sync::Arc;

use super::partition::PartitionTask;
use super::side_by_side::{Partitions, side_by_side};
use crate::error::{Error, Result};
use crate::window::{Part, PartitionWindows};

/// Keys of all partitions from which on a window is made side by side: of fewer, waking another thread takes longer.
const KEYS_SIDE_BY_SIDE: usize = 256;

/// What each partition has of the first results of windows that are closed together.
pub(super) async fn first_parts(
    partitions: &mut Partitions<PartitionTask>,
    ends_us: &Arc<[i64]>,
) -> Result<Vec<Vec<Part>>> {
    let ends_us = Arc::clone(ends_us);
    make_parts(partitions, ends_us.len(), move |windows| windows.first_parts(&ends_us)).await
}

/// What each partition makes of so many windows; of many groups side by side.
pub(super) async fn make_parts<T: Send + 'static>(
    partitions: &mut Partitions<PartitionTask>,
    count: usize,
    make: impl Fn(&mut PartitionWindows) -> datafusion::error::Result<T> + Clone + Send + 'static,
) -> Result<Vec<T>> {
    if keys(partitions) * count < KEYS_SIDE_BY_SIDE {
        return windows(partitions).into_iter().map(|windows| make(windows).map_err(Error::from)).collect();
    }
    let parts = side_by_side(partitions, |mut task| {
        let make = make.clone();
        async move {
            let parts = make(&mut task.windows).map_err(Error::from);
            (task, parts)
        }
    });
    parts.await
}

/// Keys of all partitions.
pub(super) fn keys(partitions: &Partitions<PartitionTask>) -> usize {
    partitions.iter().flatten().map(|task| task.windows.keys()).sum()
}

/// The panes of all partitions.
pub(super) fn windows(partitions: &mut Partitions<PartitionTask>) -> Vec<&mut PartitionWindows> {
    partitions.iter_mut().flatten().map(|task| &mut task.windows).collect()
}
