//! What a file holds: what the page cache shows, what the disk has, and what lies between the two.
//!
//! Each sector that was written and not synced may reach the disk or not, whatever became of those before it, and at a
//! power loss it may be torn. So may each change of the length, in order.

use crate::simulation::random::Random;

const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// Cut or extended to this length.
    Resize(usize),
    /// At least this long.
    Reserve(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What reads see.
    cached: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

/// How much of what was not synced reaches the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survival {
    pub percent: u64,
}

impl Survival {
    pub(super) const NOTHING: Self = Self { percent: 0 };
    pub(super) const EVERYTHING: Self = Self { percent: 100 };

    pub(super) fn draw(random: &mut Random) -> Self {
        Self { percent: random.pick(&[0, 10, 50, 50, 90, 100]) }
    }
}

impl Inode {
    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn resize(&mut self, len: usize) {
        self.change(Change::Resize(len));
    }

    pub(super) fn reserve(&mut self, len: usize) {
        self.change(Change::Reserve(len));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.cached, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that fails: some of it has reached the disk, and the rest will not be written by a later sync, for its
    /// pages count as clean.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        let survival = Survival::draw(random);
        let changes = std::mem::take(&mut self.unsynced);
        survive(&mut self.durable, &changes, changes.len(), survival, random);
    }

    /// The power goes: what is left is what the disk has.
    pub(super) fn lose_power(&mut self, survival: Survival, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsynced);
        let resized = match survival.percent {
            0 => 0,
            100 => changes.len(),
            _ => random.index(changes.len() + 1),
        };
        survive(&mut self.durable, &changes, resized, survival, random);
        self.cached.clone_from(&self.durable);
    }

    pub(super) fn flip(&mut self, byte: usize, bit: u8) {
        for bytes in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << bit;
            }
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Change::Resize(len) => content.resize(*len, 0),
        Change::Reserve(len) => content.resize(content.len().max(*len), 0),
    }
}

/// Applies what survives of `changes`; those before `resized` also change the length.
fn survive(content: &mut Vec<u8>, changes: &[Change], resized: usize, survival: Survival, random: &mut Random) {
    for (index, change) in changes.iter().enumerate() {
        match change {
            Change::Write { offset, bytes } => {
                if index < resized && content.len() < offset + bytes.len() {
                    content.resize(offset + bytes.len(), 0);
                }
                for (at, sector) in sectors(*offset, bytes) {
                    let kept = survivor(sector, survival, random);
                    let end = (at + kept).min(content.len());
                    if at < end {
                        content[at..end].copy_from_slice(&sector[..end - at]);
                    }
                }
            }
            _ if index < resized => apply(content, change),
            _ => {}
        }
    }
}

/// How many bytes of a sector reach the disk.
fn survivor(sector: &[u8], survival: Survival, random: &mut Random) -> usize {
    match survival.percent {
        0 => 0,
        100 => sector.len(),
        percent if random.percent(10) && random.percent(percent) => random.index(sector.len() + 1),
        percent => usize::from(random.percent(percent)) * sector.len(),
    }
}

/// The parts of a write, cut where the disk's sectors begin.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let len = (SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(rest.len());
        let sector = (offset + at, &rest[..len]);
        at += len;
        Some(sector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_outlives_the_power_for_sure() {
        let mut random = Random::new(1);
        let mut inode = Inode::default();
        inode.write(0, &[1; 600]);
        inode.sync();
        inode.write(600, &[2; 600]);
        assert_eq!(inode.len(), 1200);
        let mut lost = inode.clone();
        lost.lose_power(Survival::NOTHING, &mut random);
        assert_eq!(lost.bytes(), [1; 600]);
        inode.lose_power(Survival::EVERYTHING, &mut random);
        assert_eq!(inode.len(), 1200);
    }

    #[test]
    fn after_a_failed_sync_another_does_not_write_what_was_lost() {
        let lost_for_good = (0..20).any(|seed| {
            let mut random = Random::new(seed);
            let mut inode = Inode::default();
            inode.write(0, &[1; 2048]);
            inode.fail_sync(&mut random);
            inode.sync();
            assert_eq!(inode.bytes(), [1; 2048], "reads still see it");
            inode.lose_power(Survival::EVERYTHING, &mut random);
            inode.bytes() != [1; 2048]
        });
        assert!(lost_for_good);
    }

    #[test]
    fn sectors_survive_one_without_the_other() {
        let holes = (0..20).any(|seed| {
            let mut random = Random::new(seed);
            let mut inode = Inode::default();
            inode.write(0, &[1; 2048]);
            inode.lose_power(Survival { percent: 50 }, &mut random);
            inode.bytes().windows(2).any(|pair| pair == [0, 1])
        });
        assert!(holes);
    }
}
