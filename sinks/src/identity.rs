//! A row's identity, and what became of rows within a write that failed half-way.

use std::collections::HashMap;

use crate::sink::{Delivery, FeedId};

/// Identity of a row for ever: its feed, source offset, and which of the rows of that offset it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RowId {
    pub feed: FeedId,
    pub offset: u64,
    pub ordinal: u32,
}

/// Identities of a delivery's rows.
pub(crate) fn row_ids(delivery: &Delivery) -> Vec<RowId> {
    let mut ids: Vec<RowId> = Vec::with_capacity(delivery.offsets.len());
    for &offset in &delivery.offsets {
        let ordinal = ids.last().filter(|last| last.offset == offset).map_or(0, |last| last.ordinal + 1);
        ids.push(RowId { feed: delivery.feed.clone(), offset, ordinal });
    }
    ids
}

/// Rows that were settled by a write which then failed at a later row: the repeated write leaves them alone.
#[derive(Debug, Default)]
pub(crate) struct Settled(HashMap<RowId, Option<String>>);

impl Settled {
    pub(crate) fn accept(&mut self, id: RowId) {
        self.0.insert(id, None);
    }

    pub(crate) fn reject(&mut self, id: RowId, reason: impl Into<String>) {
        self.0.insert(id, Some(reason.into()));
    }

    /// `None` while open, else the reason of a rejection.
    pub(crate) fn outcome(&self, id: &RowId) -> Option<Option<&str>> {
        self.0.get(id).map(Option::as_deref)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
