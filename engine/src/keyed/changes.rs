//! Which slots, or numbers of keys, have changed since their state was last stored: a bit each, set by every row.

/// Bits by slot. That of a slot which was given back may stay: whoever has it next has changed all the same.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Since the state was last taken.
    since: Vec<u64>,
    /// How many were set there since then. What is given back does not count again: a disk that refuses it is not asked at once.
    count: u64,
    /// What was taken, until it is known whether that could be stored.
    taken: Option<Vec<u64>>,
}

impl Changes {
    /// Takes note that slots have changed.
    pub(crate) fn mark(&mut self, slots: &[u32]) {
        for slot in slots {
            let (at, bit) = place(*slot);
            match self.since.get_mut(at) {
                Some(word) => {
                    self.count += u64::from(*word & bit == 0);
                    *word |= bit;
                }
                None => {
                    self.since.resize(at, 0);
                    self.since.push(bit);
                    self.count += 1;
                }
            }
        }
    }

    /// How many slots have changed since the state was last taken.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many bits are set.
    pub(crate) fn len(&self) -> usize {
        self.since.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// What has changed is about to be stored; what changes from now on is not.
    pub(crate) fn take(&mut self) {
        debug_assert!(!self.are_taken(), "one after the other");
        let next = vec![0; self.since.len()];
        self.taken = Some(std::mem::replace(&mut self.since, next));
        self.count = 0;
    }

    /// Whether it is not known yet if what was taken could be stored.
    pub(crate) fn are_taken(&self) -> bool {
        self.taken.is_some()
    }

    /// Whether a slot is of those that were taken.
    pub(crate) fn is_taken(&self, slot: u32) -> bool {
        let (at, bit) = place(slot);
        self.taken.as_ref().and_then(|taken| taken.get(at)).is_some_and(|word| word & bit != 0)
    }

    /// Those that were taken, 64 a word.
    pub(super) fn taken_words(&self) -> &[u64] {
        self.taken.as_deref().unwrap_or_default()
    }

    /// What was taken is stored.
    pub(crate) fn stored(&mut self) {
        self.taken = None;
    }

    /// What was taken could not be stored: it has changed still.
    pub(crate) fn give_back(&mut self) {
        for (since, taken) in self.since.iter_mut().zip(self.taken.take().unwrap_or_default()) {
            *since |= taken;
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.since.capacity() + self.taken.as_ref().map_or(0, Vec::capacity)) * size_of::<u64>()
    }
}

fn place(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}
