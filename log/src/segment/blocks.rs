//! Checksums of the blocks of a segment's file. They are known once the whole file was written or checked by this process; from
//! then on a reader reads, and checks, only the blocks that it needs.

/// Bytes of a block, but for the last.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// CRC-32C of the whole file and of each block, as bytes come one after the other.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    pub(super) whole: u32,
    pub(super) blocks: Vec<u32>,
    /// Bytes of the last block so far.
    last_bytes: usize,
}

impl Checksums {
    /// Those of a whole file.
    pub(super) fn of(content: &[u8]) -> Self {
        let mut checksums = Self::default();
        checksums.add(content);
        checksums
    }

    /// Takes the next bytes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.last_bytes == BLOCK_BYTES || self.blocks.is_empty() {
                self.blocks.push(0);
                self.last_bytes = 0;
            }
            let (of_block, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.last_bytes));
            let block = self.blocks.last_mut().expect("pushed before");
            *block = crc32c::crc32c_append(*block, of_block);
            self.whole = crc32c::crc32c_append(self.whole, of_block);
            self.last_bytes += of_block.len();
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_checksums_of_the_whole(cuts in prop::collection::vec(0..3 * BLOCK_BYTES, 0..6)) {
            let content: Vec<u8> = (0..3 * BLOCK_BYTES as u32 - 5).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).chain([0, content.len()]).collect();
            cuts.sort_unstable();
            let mut found = Checksums::default();
            cuts.windows(2).for_each(|cut| found.add(&content[cut[0]..cut[1]]));
            prop_assert_eq!(found.whole, crc32c::crc32c(&content));
            let expected: Vec<u32> = content.chunks(BLOCK_BYTES).map(crc32c::crc32c).collect();
            prop_assert_eq!(found.blocks, expected);
        }
    }
}
