//! The hash table of a dictionary: from a value's hash to the value's index. Open addressing, at
//! most two thirds full: small enough for the processor's caches matters more than a collision.

/// Slots of a new table.
const FIRST_SLOTS: usize = 1 << 10;
/// Steps beyond a value's own slot that a dictionary may cost for each of its probes, and for nothing.
const MAX_STEPS_PER_PROBE: u64 = 4;
const FREE_STEPS: u64 = 1 << 16;

pub(super) struct Slots {
    /// The value's index and 1; 0 is vacant. A power of two of them.
    slots: Vec<u32>,
    used: usize,
    steps: u64,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { slots: vec![0; FIRST_SLOTS], used: 0, steps: 0 }
    }

    /// The index of the value that is `equal`, else the slot where it belongs.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, equal: impl Fn(usize) -> bool) -> Result<u32, usize> {
        let mut slot = self.home(hash);
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                entry if equal(entry as usize - 1) => return Ok(entry - 1),
                _ => {}
            }
            slot = (slot + 1) & (self.slots.len() - 1);
            self.steps += 1;
        }
    }

    /// The index of the value that has a hash, if it was the first one there; if none was, no index.
    #[inline]
    pub(super) fn likely(&self, hash: u64) -> u32 {
        self.slots[self.home(hash)].wrapping_sub(1)
    }

    /// Gives a slot found vacant to the next index; `hash` gives those of all values for a larger table.
    pub(super) fn occupy(&mut self, slot: usize, hash: impl Fn(usize) -> u64) -> u32 {
        let index = u32::try_from(self.used).expect("a dictionary is bounded by its bytes");
        self.slots[slot] = index + 1;
        self.used += 1;
        if self.used * 3 > self.slots.len() * 2 {
            self.slots = vec![0; self.slots.len() * 2];
            for (entry, value) in (1..).zip(0..self.used) {
                let mut slot = self.home(hash(value));
                while self.slots[slot] != 0 {
                    slot = (slot + 1) & (self.slots.len() - 1);
                }
                self.slots[slot] = entry;
            }
        }
        index
    }

    /// Whether values collide as only values made for it do, after `probes`: the hash is no secret.
    pub(super) fn is_degenerate(&self, probes: usize) -> bool {
        self.steps > FREE_STEPS + MAX_STEPS_PER_PROBE * probes as u64
    }

    /// The first slot of a hash, whose upper bits are the better ones.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "a slot's index fits")]
        let slot = (hash >> (64 - self.slots.len().trailing_zeros())) as usize;
        slot
    }
}

/// Mixes two words: the halves of their product together depend on all bits of both.
#[inline]
pub(super) fn mix(low: u64, high: u64) -> u64 {
    const LOW: u64 = 0x9e37_79b9_7f4a_7c15;
    const HIGH: u64 = 0xbf58_476d_1ce4_e5b9;
    let product = u128::from(low ^ LOW) * u128::from(high ^ HIGH);
    #[expect(clippy::cast_possible_truncation, reason = "its halves")]
    let folded = (product >> 64) as u64 ^ product as u64;
    folded.wrapping_mul(LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_was_given_and_notices_collisions() {
        let fill = |hash: fn(usize) -> u64| {
            let mut slots = Slots::new();
            for value in 0..5000 {
                let slot = slots.find(hash(value), |index| index == value).unwrap_err();
                assert_eq!(slots.occupy(slot, hash) as usize, value);
            }
            assert!((0..5000).all(|value| slots.find(hash(value), |index| index == value) == Ok(value as u32)));
            slots.is_degenerate(10_000)
        };
        assert!(!fill(|value| mix(value as u64, value as u64)));
        assert!(fill(|_| 7));
    }
}
