//! Work on all partitions of a query at once.

use tokio::task::JoinSet;

use crate::error::Result;

/// Partitions that a query works on; each is away while it is worked on.
pub(super) type Partitions<P> = Vec<Option<P>>;

/// Does the work on every partition, side by side; the results come in their order. A partition is given away with its work and
/// comes back with the result. `Err` is the failure of one of them, once all are back.
pub(super) async fn side_by_side<P, T, W>(partitions: &mut Partitions<P>, work: impl Fn(P) -> W) -> Result<Vec<T>>
where
    P: Send + 'static,
    T: Send + 'static,
    W: Future<Output = (P, Result<T>)> + Send + 'static,
{
    let mut working = JoinSet::new();
    for (number, slot) in partitions.iter_mut().enumerate() {
        let work = work(slot.take().expect("partitions are back after each step"));
        working.spawn(async move { (number, work.await) });
    }
    let mut results: Vec<Option<T>> = partitions.iter().map(|_| None).collect();
    let mut failed = None;
    while let Some(done) = working.join_next().await {
        let (number, (partition, result)) = match done {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        partitions[number] = Some(partition);
        match result {
            Ok(result) => results[number] = Some(result),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or_else(|| Ok(results.into_iter().flatten().collect()), Err)
}
