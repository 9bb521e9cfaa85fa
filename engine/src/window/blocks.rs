//! Partial sums over the panes of long windows, so that a hop does not add up all its panes for every window.
//!
//! Event time is cut into blocks as long as a window. A window then is the end of one block and the beginning of the next:
//! sums over every end of a block are made once, from the last pane backwards, and a sum over the beginning of a block grows
//! by a pane at a time. Each pane is added three times, whatever the number of windows over it (van Herk, Pattern
//! Recognition Letters 13, 1992; Gil and Werman, IEEE PAMI 15, 1993). Blocks lie at fixed event times, so that the same
//! is added in the same order wherever a run begins.
//!
//! A window that cumulates is the beginning of its stretch.

use std::collections::BTreeMap;

use datafusion::error::Result;

use super::assign::{Assigner, PaneKey};
use super::groups::Groups;
use super::pane::Pane;
use super::store::Store;

/// Windows of so many panes are added up by blocks.
const PANES: i64 = 4;

/// Partial sums of one partition. They are made of its panes, and made again where they are missing.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// End of the block whose ends are in `suffixes`.
    suffixes_end_us: Option<i64>,
    /// The sum of the panes from each start to the end of the block.
    suffixes: BTreeMap<i64, Groups>,
    prefix: Option<Prefix>,
}

/// The sum of the panes from a start on, as far as they were added.
#[derive(Debug)]
struct Prefix {
    start_us: i64,
    added_us: i64,
    groups: Groups,
}

type Panes = BTreeMap<PaneKey, Pane>;

impl Blocks {
    /// Whether windows are added up by blocks.
    pub(super) fn suit(assigner: &Assigner) -> bool {
        assigner.is_cumulating() || assigner.panes_of_window().is_some_and(|panes| panes >= PANES)
    }

    /// The parts of the window that ends at `end_us`, in order. Its panes are complete, and so are all that count for windows
    /// before it.
    pub(super) fn parts<'a>(
        &'a mut self,
        assigner: &Assigner,
        store: &mut Store,
        panes: &'a Panes,
        end_us: i64,
    ) -> Result<Vec<&'a Groups>> {
        let start_us = assigner.window_start_us(end_us);
        if assigner.is_cumulating() {
            self.extend_prefix(store, panes, start_us, end_us, |key| key.on_time_end_us)?;
            return Ok(self.prefix.iter().map(|prefix| &prefix.groups).filter(|groups| groups.len() > 0).collect());
        }
        let border_us = assigner.block_start_us(end_us - 1);
        let is_regular = |key: &PaneKey| assigner.is_regular(*key);
        if start_us < border_us {
            self.make_suffixes(store, panes, start_us, border_us, is_regular)?;
        }
        self.extend_prefix(store, panes, border_us, end_us, |key| match is_regular(key) {
            true => key.start_us + 1,
            false => i64::MAX,
        })?;
        let suffix = self.suffixes.range(start_us..border_us).next().map(|(_, groups)| groups);
        let prefix = self.prefix.as_ref().map(|prefix| &prefix.groups).filter(|groups| groups.len() > 0);
        // Rows that came too late for some windows over their pane count for the others one by one.
        let irregular = panes.range(PaneKey::first(start_us)..PaneKey::first(end_us));
        let irregular = irregular.filter(|(key, _)| !is_regular(key) && assigner.covers(**key, end_us));
        Ok(suffix.into_iter().chain(prefix).chain(irregular.map(|(_, pane)| &pane.groups)).collect())
    }

    fn make_suffixes(
        &mut self,
        store: &mut Store,
        panes: &Panes,
        start_us: i64,
        end_us: i64,
        is_regular: impl Fn(&PaneKey) -> bool,
    ) -> Result<()> {
        if self.suffixes_end_us == Some(end_us) {
            while let Some(first) = self.suffixes.first_entry().filter(|first| *first.key() < start_us) {
                store.release(&first.remove());
            }
            return Ok(());
        }
        for groups in std::mem::take(&mut self.suffixes).values() {
            store.release(groups);
        }
        self.suffixes_end_us = Some(end_us);
        let mut after: Option<i64> = None;
        for (key, pane) in panes.range(PaneKey::first(start_us)..PaneKey::first(end_us)).rev() {
            if !is_regular(key) {
                continue;
            }
            let mut groups = Groups::default();
            store.add(&mut groups, &pane.groups)?;
            if let Some(after) = after.and_then(|after| self.suffixes.get(&after)) {
                store.add(&mut groups, after)?;
            }
            self.suffixes.insert(key.start_us, groups);
            after = Some(key.start_us);
        }
        Ok(())
    }

    /// Adds the panes from `start_us` on whose `due_us` lies after what was added before, up to `end_us`, in the order of
    /// that.
    fn extend_prefix(
        &mut self,
        store: &mut Store,
        panes: &Panes,
        start_us: i64,
        end_us: i64,
        due_us: impl Fn(&PaneKey) -> i64,
    ) -> Result<()> {
        let before = self.prefix.take();
        let mut prefix = match before {
            Some(prefix) if prefix.start_us == start_us && prefix.added_us <= end_us => prefix,
            before => {
                if let Some(before) = before {
                    store.release(&before.groups);
                }
                Prefix { start_us, added_us: i64::MIN, groups: Groups::default() }
            }
        };
        let panes = panes.range(PaneKey::first(start_us)..PaneKey::first(end_us));
        let due = panes.filter(|(key, _)| due_us(key) > prefix.added_us && due_us(key) <= end_us);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(key, _)| (due_us(key), **key));
        for (_, pane) in due {
            store.add(&mut prefix.groups, &pane.groups)?;
        }
        prefix.added_us = end_us;
        self.prefix = Some(prefix);
        Ok(())
    }

    /// Forgets what belongs to windows that end at or before `closed_us` only.
    pub(super) fn forget(&mut self, store: &mut Store, assigner: &Assigner, closed_us: i64) {
        let is_over = |prefix: &Prefix| assigner.last_end_us(prefix.start_us) <= closed_us;
        if self.prefix.as_ref().is_some_and(is_over)
            && let Some(prefix) = self.prefix.take()
        {
            store.release(&prefix.groups);
        }
        let is_over = |start_us: i64| assigner.last_end_us(start_us) <= closed_us;
        while let Some(first) = self.suffixes.first_entry().filter(|first| is_over(*first.key())) {
            store.release(&first.remove());
        }
    }

    /// Bytes held besides the shared ones.
    pub(super) fn bytes(&self) -> usize {
        self.suffixes.values().chain(self.prefix.iter().map(|prefix| &prefix.groups)).map(Groups::bytes).sum()
    }
}
