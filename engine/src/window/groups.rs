//! The groups of a pane: which keys have rows in it, and the slot of each one's accumulators.

use hashbrown::HashTable;

/// Keys for which a list by number is kept however few of them there are.
const DENSE_KEYS: usize = 1_024;

/// Stands for no slot.
pub(super) const NONE: u32 = u32::MAX;

/// Slots by key number: a list where most keys are there, a hash table where few are.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    slots: Slots,
    len: usize,
}

#[derive(Debug, Clone)]
enum Slots {
    Dense(Vec<u32>),
    Sparse(HashTable<(u32, u32)>),
}

impl Default for Groups {
    fn default() -> Self {
        Self { slots: Slots::Dense(Vec::new()), len: 0 }
    }
}

impl Groups {
    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot of a key.
    pub(super) fn slot(&self, key: u32) -> Option<u32> {
        match &self.slots {
            Slots::Dense(slots) => slots.get(key as usize).copied().filter(|slot| *slot != NONE),
            Slots::Sparse(slots) => slots.find(hash(key), |(known, _)| *known == key).map(|(_, slot)| *slot),
        }
    }

    /// The slots by key, [`NONE`] where there is none, as far as they are in a list.
    pub(super) fn dense(&self) -> &[u32] {
        match &self.slots {
            Slots::Dense(slots) => slots,
            Slots::Sparse(_) => &[],
        }
    }

    /// Makes room for as many as others have, if that is little, where there are none yet.
    pub(super) fn reserve_as(&mut self, others: &Self) {
        if let (Slots::Dense(slots), Slots::Dense(others)) = (&mut self.slots, &others.slots)
            && slots.is_empty()
        {
            slots.reserve_exact(others.len().min(DENSE_KEYS));
        }
    }

    /// Gives a key that has none a slot.
    pub(super) fn insert(&mut self, key: u32, slot: u32) {
        let at = key as usize;
        self.len += 1;
        match &mut self.slots {
            Slots::Dense(slots) if at < slots.len() => slots[at] = slot,
            Slots::Dense(slots) if at < DENSE_KEYS || at / 4 <= self.len => {
                slots.resize(at + 1, NONE);
                slots[at] = slot;
            }
            Slots::Dense(_) => {
                let few = self.iter().collect::<Vec<_>>();
                let mut slots = HashTable::with_capacity(few.len() + 1);
                for group in few.into_iter().chain([(key, slot)]) {
                    slots.insert_unique(hash(group.0), group, |(key, _)| hash(*key));
                }
                self.slots = Slots::Sparse(slots);
            }
            Slots::Sparse(slots) => {
                slots.insert_unique(hash(key), (key, slot), |(key, _)| hash(*key));
                let highest = if self.len.is_power_of_two() { slots.iter().map(|(key, _)| *key).max() } else { None };
                if let Some(highest) = highest.map(|key| key as usize).filter(|highest| highest / 4 <= self.len) {
                    let mut dense = vec![NONE; highest + 1];
                    for (key, slot) in slots.iter() {
                        dense[*key as usize] = *slot;
                    }
                    self.slots = Slots::Dense(dense);
                }
            }
        }
    }

    /// Keys and slots, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let (dense, sparse) = match &self.slots {
            Slots::Dense(slots) => (slots.as_slice(), None),
            Slots::Sparse(slots) => (&[][..], Some(slots)),
        };
        let dense = dense.iter().enumerate().filter(|(_, slot)| **slot != NONE);
        dense.map(|(key, slot)| (key as u32, *slot)).chain(sparse.into_iter().flatten().copied())
    }

    /// Keys and slots of the groups whose slot is wanted, in no particular order.
    pub(super) fn of_slots(&self, is_wanted: impl Fn(u32) -> bool) -> (Vec<u32>, Vec<u32>) {
        match &self.slots {
            // A checkpoint looks at every group of a pane, and mostly few of them have changed.
            Slots::Dense(slots) => {
                let is_wanted = |slot: u32| slot != NONE && is_wanted(slot);
                let count = slots.iter().filter(|slot| is_wanted(**slot)).count();
                let (mut keys, mut wanted) = (Vec::with_capacity(count), Vec::with_capacity(count));
                for (key, slot) in (0..).zip(slots) {
                    if is_wanted(*slot) {
                        keys.push(key);
                        wanted.push(*slot);
                    }
                }
                (keys, wanted)
            }
            Slots::Sparse(slots) => slots.iter().copied().filter(|(_, slot)| is_wanted(*slot)).unzip(),
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        match &self.slots {
            Slots::Dense(slots) => slots.capacity() * size_of::<u32>(),
            Slots::Sparse(slots) => slots.allocation_size(),
        }
    }
}

/// Numbers are given one after the other; Fibonacci hashing spreads them (Knuth, The Art of Computer Programming 3, 6.4).
fn hash(key: u32) -> u64 {
    u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn groups_are_a_map(keys in prop::collection::hash_set(0..1_u32 << 14, 0..3_000), far in 0..1_u32 << 20) {
            let mut groups = Groups::default();
            let mut model = BTreeMap::new();
            for (slot, key) in keys.into_iter().chain([(1 << 14) + far]).enumerate() {
                prop_assert_eq!(groups.slot(key), None);
                groups.insert(key, slot as u32);
                model.insert(key, slot as u32);
            }
            prop_assert_eq!(groups.len(), model.len());
            prop_assert_eq!(groups.iter().collect::<BTreeMap<_, _>>(), model.clone());
            prop_assert!(model.iter().all(|(key, slot)| groups.slot(*key) == Some(*slot)));
        }
    }
}
