//! A pane's partial aggregates.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::error::Result;

use super::aggregate::WindowAggregate;
use super::groups::Groups;

/// What a pane holds: a state that was cut earlier, and accumulators that still take rows.
///
/// The cut happens at places that the rows determine (a checkpoint offset, the first close of a window over the pane,
/// when no further row can come to it), so that merging gives the same bits in every run.
#[derive(Debug, Default)]
pub(crate) struct Pane {
    cut: Option<RecordBatch>,
    live: Option<Groups>,
}

impl Pane {
    /// A pane as a snapshot stored it.
    pub(crate) fn restored(state: RecordBatch) -> Self {
        Self { cut: Some(state), live: None }
    }

    /// Adds rows.
    pub(crate) fn update(
        &mut self,
        aggregate: &WindowAggregate,
        rows: usize,
        keys: &[ArrayRef],
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
    ) -> Result<()> {
        let live = match self.live.take() {
            Some(live) => self.live.insert(live),
            None => self.live.insert(Groups::new(aggregate)?),
        };
        live.update(rows, keys, arguments, filters)
    }

    /// Turns the accumulators into one state and returns it.
    pub(crate) fn cut(&mut self, aggregate: &WindowAggregate) -> Result<&RecordBatch> {
        if let Some(live) = self.live.take() {
            let state = live.into_state(aggregate)?;
            let merged = match self.cut.take() {
                None => state,
                Some(earlier) => {
                    let mut groups = Groups::new(aggregate)?;
                    groups.merge(aggregate, &earlier)?;
                    groups.merge(aggregate, &state)?;
                    groups.into_state(aggregate)?
                }
            };
            self.cut = Some(merged);
        }
        Ok(self.cut.as_ref().expect("a pane exists because a row came to it"))
    }

    /// The accumulators, if nothing was cut off them.
    pub(crate) fn into_uncut(self) -> Result<Groups, Self> {
        match self {
            Self { cut: None, live: Some(live) } => Ok(live),
            pane => Err(pane),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.cut.as_ref().map_or(0, RecordBatch::get_array_memory_size) + self.live.as_ref().map_or(0, Groups::bytes)
    }
}
