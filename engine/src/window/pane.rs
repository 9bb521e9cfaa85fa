//! A pane's partial aggregates.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::error::Result;

use super::aggregate::WindowAggregate;
use super::groups::Groups;

/// What a pane holds: a state that was cut earlier, and accumulators that still take rows.
///
/// The cut happens at places that the rows determine (a checkpoint offset, the first close of a window over the pane,
/// when no further row can come to it), so that merging gives the same bits in every run. Where results are wanted before
/// that, the rows are added up a second time, in a preview that may be looked at whenever.
#[derive(Debug, Default)]
pub(crate) struct Pane {
    cut: Option<RecordBatch>,
    live: Option<Groups>,
    preview: Option<Box<Preview>>,
}

/// The same rows once more, cut wherever somebody looks.
#[derive(Debug, Default)]
struct Preview {
    seen: Option<RecordBatch>,
    fresh: Option<Groups>,
}

impl Pane {
    /// A pane without rows; with a preview it can be looked at before it is complete.
    pub(crate) fn new(has_preview: bool) -> Self {
        Self { cut: None, live: None, preview: has_preview.then(Box::default) }
    }

    /// A pane as a snapshot stored it.
    pub(crate) fn restored(state: RecordBatch, has_preview: bool) -> Self {
        let preview = has_preview.then(|| Box::new(Preview { seen: Some(state.clone()), fresh: None }));
        Self { cut: Some(state), live: None, preview }
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
        if let Some(preview) = &mut self.preview {
            in_place(&mut preview.fresh, aggregate)?.update(rows, keys, arguments, filters)?;
        }
        in_place(&mut self.live, aggregate)?.update(rows, keys, arguments, filters)
    }

    /// Turns the accumulators into one state and returns it.
    pub(crate) fn cut(&mut self, aggregate: &WindowAggregate) -> Result<&RecordBatch> {
        if let Some(live) = self.live.take() {
            self.cut = Some(merged(aggregate, self.cut.take(), live.into_state(aggregate)?)?);
        }
        Ok(self.cut.as_ref().expect("a pane exists because a row came to it"))
    }

    /// The state as far as rows have come. Without a preview it is cut: the pane has to be complete.
    pub(crate) fn look(&mut self, aggregate: &WindowAggregate) -> Result<&RecordBatch> {
        if self.preview.is_none() {
            return self.cut(aggregate);
        }
        self.take_fresh(aggregate)?;
        let seen = self.preview.as_ref().and_then(|preview| preview.seen.as_ref());
        Ok(seen.expect("a pane exists because a row came to it"))
    }

    /// The state of the rows that came since this was last asked, where there is a preview.
    pub(crate) fn take_fresh(&mut self, aggregate: &WindowAggregate) -> Result<Option<RecordBatch>> {
        let Some(preview) = &mut self.preview else { return Ok(None) };
        let Some(fresh) = preview.fresh.take() else { return Ok(None) };
        let fresh = fresh.into_state(aggregate)?;
        preview.seen = Some(merged(aggregate, preview.seen.take(), fresh.clone())?);
        Ok(Some(fresh))
    }

    /// The accumulators, if nothing was cut off them.
    pub(crate) fn into_uncut(self) -> Result<Groups, Self> {
        match self {
            Self { cut: None, live: Some(live), .. } => Ok(live),
            pane => Err(pane),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let part = |state: &Option<RecordBatch>, groups: &Option<Groups>| {
            state.as_ref().map_or(0, RecordBatch::get_array_memory_size) + groups.as_ref().map_or(0, Groups::bytes)
        };
        let preview = self.preview.as_ref().map_or(0, |preview| part(&preview.seen, &preview.fresh));
        part(&self.cut, &self.live) + preview
    }
}

fn in_place<'a>(slot: &'a mut Option<Groups>, aggregate: &WindowAggregate) -> Result<&'a mut Groups> {
    let groups = match slot.take() {
        Some(groups) => groups,
        None => Groups::new(aggregate)?,
    };
    Ok(slot.insert(groups))
}

fn merged(aggregate: &WindowAggregate, earlier: Option<RecordBatch>, state: RecordBatch) -> Result<RecordBatch> {
    let Some(earlier) = earlier else { return Ok(state) };
    let mut groups = Groups::new(aggregate)?;
    groups.merge(aggregate, &earlier)?;
    groups.merge(aggregate, &state)?;
    groups.into_state(aggregate)
}
