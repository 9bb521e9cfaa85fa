//! Which keys of a table have changed since their state was last stored, and which of the stored ones are gone.

use super::changes::Changes;

/// By number: changes, and what is stored.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    pub(super) changes: Changes,
    /// A bit for each number: whether its key may be in what is stored. One that is not leaves no trace when it goes.
    stored: Vec<u64>,
    /// Stored keys that are gone, since the state was last taken.
    gone: Vec<Box<[u8]>>,
    /// Those that were gone when it was taken.
    gone_taken: Vec<Box<[u8]>>,
    /// Bytes of both.
    gone_bytes: usize,
}

impl Tracked {
    /// A key is gone, and its number free.
    pub(super) fn remove(&mut self, number: u32, key: &[u8]) {
        let (at, bit) = place(number);
        if let Some(word) = self.stored.get_mut(at).filter(|word| **word & bit != 0) {
            *word &= !bit;
            self.gone.push(key.into());
            self.gone_bytes += key.len();
        }
    }

    /// All of these have changed, and nothing is stored.
    pub(super) fn change_all(&mut self, numbers: impl Iterator<Item = u32>) {
        self.changes.mark(&numbers.collect::<Vec<_>>());
        self.stored.clear();
        self.gone_bytes -= bytes_of(&self.gone);
        self.gone.clear();
    }

    /// The state of these is what is stored.
    pub(super) fn restored(&mut self, numbers: impl Iterator<Item = u32>) {
        *self = Self::default();
        for number in numbers {
            let (at, bit) = place(number);
            if at >= self.stored.len() {
                self.stored.resize(at + 1, 0);
            }
            self.stored[at] |= bit;
        }
    }

    /// Takes the changes: the state of those keys is about to be stored.
    pub(super) fn take(&mut self) {
        self.changes.take();
        self.gone_taken = std::mem::take(&mut self.gone);
        let taken = self.changes.taken_words();
        self.stored.resize(self.stored.len().max(taken.len()), 0);
        for (stored, taken) in self.stored.iter_mut().zip(taken) {
            *stored |= taken;
        }
    }

    /// Numbers that were taken but for those in these words; they may be free meanwhile.
    pub(super) fn taken_without(&self, words: &[u64]) -> impl Iterator<Item = u32> {
        let taken = self.changes.taken_words().iter().enumerate();
        let others = taken.map(|(at, taken)| (at, taken & !words.get(at).copied().unwrap_or(0)));
        others.filter(|(_, word)| *word != 0).flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at as u32 * 64 + bit)
        })
    }

    /// Keys, as bytes, that were gone when the changes were taken.
    pub(super) fn gone_taken(&self) -> impl Iterator<Item = &[u8]> {
        self.gone_taken.iter().map(AsRef::as_ref)
    }

    /// How many keys a store of the changes would be about, at most.
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.gone.len()
    }

    /// How many stored keys are gone.
    pub(super) fn gone(&self) -> usize {
        self.gone.len()
    }

    /// What was taken is stored.
    pub(super) fn stored(&mut self) {
        self.changes.stored();
        self.gone_bytes -= bytes_of(&self.gone_taken);
        self.gone_taken.clear();
    }

    /// What was taken could not be stored.
    pub(super) fn not_stored(&mut self) {
        self.changes.give_back();
        self.gone.append(&mut self.gone_taken);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.changes.bytes()
            + self.stored.capacity() * size_of::<u64>()
            + (self.gone.capacity() + self.gone_taken.capacity()) * size_of::<Box<[u8]>>()
            + self.gone_bytes
    }
}

fn bytes_of(keys: &[Box<[u8]>]) -> usize {
    keys.iter().map(|key| key.len()).sum()
}

fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}
