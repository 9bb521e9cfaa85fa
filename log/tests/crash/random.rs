//! A small seeded source of numbers (SplitMix64): the choices of a run can be made again from its seed.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

/// Sets the seed instead of drawing one.
const SEED: &str = "THERMOCLINE_SEED";

/// The seed asked for, or a new one.
pub fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().expect("the seed is a number"),
        Err(_) => RandomState::new().hash_one(SEED),
    }
}

#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers that depend on all of `parts` and nothing else.
    pub fn new(parts: &[u64]) -> Self {
        let mut random = Self(0);
        for part in parts {
            random.0 ^= *part;
            random.0 = random.next();
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.within(0..n) == 0
    }

    pub fn below(&mut self, duration: Duration) -> Duration {
        let micros = u64::try_from(duration.as_micros()).expect("a short time");
        Duration::from_micros(self.within(0..micros + 1))
    }
}
