//! A pane: its groups, and which of them have changed since somebody looked.

use hashbrown::HashSet;

use super::groups::Groups;

/// A pane of a partition. What it holds is exact wherever one looks: accumulators are added to row by row, and neither a look
/// nor a snapshot changes them.
#[derive(Debug, Default)]
pub(super) struct Pane {
    pub(super) groups: Groups,
    /// Whether groups may have changed that no stored state has.
    pub(super) has_changed: bool,
    /// Keys of rows that came since [`take_changed`](Self::take_changed) was last asked; `None` where nobody asks.
    changed: Option<HashSet<u32>>,
}

impl Pane {
    /// A pane with these groups, which nobody has to be told of.
    pub(super) fn new(groups: Groups, is_watched: bool) -> Self {
        Self { groups, has_changed: false, changed: is_watched.then(HashSet::new) }
    }

    /// Takes note that a row of a key came.
    pub(super) fn touch(&mut self, key: u32) {
        if let Some(changed) = &mut self.changed {
            changed.insert(key);
        }
    }

    /// Whether somebody asks for changes.
    pub(super) fn is_watched(&self) -> bool {
        self.changed.is_some()
    }

    /// The keys of rows that came since this was last asked.
    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        self.changed.as_mut().map(|changed| changed.drain().collect()).unwrap_or_default()
    }

    /// Bytes held besides the shared ones.
    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes() + self.changed.as_ref().map_or(0, HashSet::allocation_size)
    }
}
