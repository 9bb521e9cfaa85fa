//! The order of the keys of several partitions among each other. It is found once for as long as the same keys are there, and
//! windows are put together by numbers instead of by the bytes of keys.

use super::partition::PartitionWindows;

/// For each partition, by key number, the rank of the key among those of all partitions; equal keys have one rank.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    /// Of which versions of the partitions' keys it tells.
    versions: Vec<u64>,
    ranks: Vec<Vec<u32>>,
    /// Whether some key is in several partitions.
    is_shared: bool,
}

impl Ranks {
    /// Whether the ranks are known. They are found where they are not and that is no more work than for `groups` of them.
    pub(super) fn know(&mut self, partitions: &mut [&mut PartitionWindows], groups: usize) -> bool {
        if self.are_known(partitions) {
            return true;
        }
        if partitions.iter().map(|partition| partition.store.keys.len()).sum::<usize>() > 4 * groups {
            return false;
        }
        self.versions = versions(partitions).collect();
        let mut keys: Vec<(usize, u32)> = Vec::new();
        for (n, partition) in partitions.iter_mut().enumerate() {
            keys.extend(partition.store.keys_in_order().iter().map(|key| (n, *key)));
        }
        let bytes = |(n, key): (usize, u32)| partitions[n].store.keys.ordered(key);
        // Each partition's are in order already, which a stable sort makes use of.
        keys.sort_by(|a, b| bytes(*a).cmp(bytes(*b)));
        self.ranks = partitions.iter().map(|partition| vec![0; partition.store.keys.numbers()]).collect();
        self.is_shared = false;
        for (rank, equal) in (0..).zip(keys.chunk_by(|a, b| bytes(*a) == bytes(*b))) {
            equal.iter().for_each(|(n, key)| self.ranks[*n][*key as usize] = rank);
            self.is_shared |= equal.len() > 1;
        }
        true
    }

    /// Whether the ranks are known, and no key is in several partitions.
    pub(super) fn tell_apart(&self, partitions: &[&mut PartitionWindows]) -> bool {
        !self.is_shared && self.are_known(partitions)
    }

    fn are_known(&self, partitions: &[&mut PartitionWindows]) -> bool {
        self.versions.iter().copied().eq(versions(partitions))
    }

    /// The rank of a key of a partition, once they are known.
    pub(super) fn rank(&self, partition: usize, key: u32) -> u32 {
        self.ranks[partition][key as usize]
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.ranks.iter().map(|ranks| ranks.capacity() * size_of::<u32>()).sum()
    }
}

fn versions(partitions: &[&mut PartitionWindows]) -> impl Iterator<Item = u64> {
    partitions.iter().map(|partition| partition.store.keys.version())
}
