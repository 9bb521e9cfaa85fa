//! The order in which rows flow through the continuous queries of a pipeline.

use crate::continuous_query::ContinuousQuery;
use crate::error::{Error, Result};

/// The queries sorted so that each comes after all that write the stream it reads.
pub(crate) fn in_flow_order<'a>(queries: &[ContinuousQuery<'a>]) -> Result<Vec<ContinuousQuery<'a>>> {
    let mut waiting = queries.to_vec();
    let mut ordered = Vec::with_capacity(queries.len());
    while !waiting.is_empty() {
        let (ready, blocked): (Vec<_>, Vec<_>) = waiting.iter().copied().partition(|query| {
            let reads = query.reads();
            !waiting.iter().any(|other| other.writes().is_some_and(|stream| reads.contains(&stream)))
        });
        if ready.is_empty() {
            let queries = blocked.iter().map(ContinuousQuery::name).collect::<Vec<_>>().join(", ");
            return Err(Error::Cycle { queries });
        }
        ordered.extend(ready);
        waiting = blocked;
    }
    Ok(ordered)
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
