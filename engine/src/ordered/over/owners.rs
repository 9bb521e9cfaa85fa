//! Whose watermark a key goes by: the query's, which all keys share, or that of a key of a stream with watermarks by key.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The owner of all keys where there is one watermark.
pub(super) const EVERYONE: u32 = 0;

/// Rows that are complete, by (moment, number), for each owner; a row is emitted once its owner's watermark has passed its
/// moment.
#[derive(Debug, Default)]
pub(super) struct Complete {
    by_owner: Vec<BinaryHeap<Reverse<(i64, u64, u32)>>>,
}

impl Complete {
    /// A row of a key is complete at a moment.
    pub(super) fn push(&mut self, owner: u32, moment_us: i64, number: u64, key: u32) {
        at(&mut self.by_owner, owner).push(Reverse((moment_us, number, key)));
    }

    /// The next (key, row) of an owner that the watermark has passed.
    pub(super) fn pop_before(&mut self, owner: u32, watermark_us: i64) -> Option<(u32, u64)> {
        let rows = self.by_owner.get_mut(owner as usize)?;
        let Reverse((moment_us, number, key)) = rows.peek().copied()?;
        if moment_us >= watermark_us {
            return None;
        }
        rows.pop();
        Some((key, number))
    }

    /// For each owner with rows, the last moment.
    pub(super) fn last_us(&self) -> impl Iterator<Item = (u32, i64)> {
        let last_us = |rows: &BinaryHeap<Reverse<(i64, u64, u32)>>| rows.iter().map(|Reverse((us, ..))| *us).max();
        (0..).zip(&self.by_owner).filter_map(move |(owner, rows)| Some((owner, last_us(rows)?)))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self.by_owner.iter().map(BinaryHeap::capacity).sum();
        rows * size_of::<(i64, u64, u32)>() + self.by_owner.capacity() * size_of::<BinaryHeap<u8>>()
    }
}

/// What is to be looked at, for each owner.
#[derive(Debug, Default)]
pub(super) struct Owners {
    by_owner: Vec<Owned>,
    /// Those with touched keys.
    active: Vec<u32>,
}

#[derive(Debug, Default)]
struct Owned {
    due: BinaryHeap<Reverse<(i64, u32)>>,
    /// Keys that something has happened to.
    touched: Vec<u32>,
}

impl Owners {
    /// Something has happened to a key, for the first time since they were taken.
    pub(super) fn touch(&mut self, owner: u32, key: u32) {
        let touched = &mut at(&mut self.by_owner, owner).touched;
        touched.push(key);
        if touched.len() == 1 {
            self.active.push(owner);
        }
    }

    /// The touched keys of an owner.
    pub(super) fn touched(&self, owner: u32) -> &[u32] {
        self.by_owner.get(owner as usize).map_or(&[], |owned| &owned.touched)
    }

    /// The owners with touched keys.
    pub(super) fn active(&self) -> &[u32] {
        &self.active
    }

    /// Takes the touched keys of all owners.
    pub(super) fn take_touched(&mut self) -> Vec<(u32, Vec<u32>)> {
        let active = std::mem::take(&mut self.active).into_iter();
        active.map(|owner| (owner, std::mem::take(&mut self.by_owner[owner as usize].touched))).collect()
    }

    /// A key is to be looked at when its owner's watermark gets there.
    pub(super) fn schedule(&mut self, owner: u32, due_us: i64, key: u32) {
        at(&mut self.by_owner, owner).due.push(Reverse((due_us, key)));
    }

    /// The next (due, key) of an owner that the watermark has reached.
    pub(super) fn pop_due(&mut self, owner: u32, watermark_us: i64) -> Option<(i64, u32)> {
        let due = &mut self.by_owner.get_mut(owner as usize)?.due;
        let Reverse((due_us, _)) = due.peek()?;
        if *due_us > watermark_us {
            return None;
        }
        due.pop().map(|Reverse(due)| due)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let due: usize = self.by_owner.iter().map(|owned| owned.due.capacity()).sum();
        due * size_of::<(i64, u32)>() + self.by_owner.capacity() * size_of::<Owned>()
    }
}

fn at<T: Default>(by_owner: &mut Vec<T>, owner: u32) -> &mut T {
    let at = owner as usize;
    if at >= by_owner.len() {
        by_owner.resize_with(at + 1, T::default);
    }
    &mut by_owner[at]
}
