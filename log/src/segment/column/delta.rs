//! Parquet's `DELTA_BINARY_PACKED`: what each value is more than the one before it, bit-packed with as many bits as the
//! largest of its block needs.

use super::hybrid::{pack, varint};

const BLOCK: usize = 128;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// Appends `values`, sign-extended; `narrow` ones are of 32 bits, and so are their differences.
pub(super) fn encode(values: &[u64], narrow: bool, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(values.len() as u64, out);
    let first = values.first().map_or(0, |first| first.cast_signed());
    zigzag(first, out);
    let mut before = first;
    for block in values.get(1..).unwrap_or_default().chunks(BLOCK) {
        let mut deltas = [0_i64; BLOCK];
        for (delta, value) in deltas.iter_mut().zip(block) {
            let value = value.cast_signed();
            let exact = value.wrapping_sub(before);
            #[expect(clippy::cast_possible_truncation, reason = "narrow values wrap at 32 bits")]
            let wrapped = i64::from(exact as i32);
            *delta = if narrow { wrapped } else { exact };
            before = value;
        }
        let deltas = &mut deltas[..block.len()];
        let min = deltas.iter().copied().min().expect("a chunk has values");
        let mut above = [0_u64; BLOCK];
        for (above, delta) in above.iter_mut().zip(deltas) {
            *above = delta.wrapping_sub(min).cast_unsigned();
        }
        zigzag(min, out);
        let widths: [u32; MINIBLOCKS] = std::array::from_fn(|n| {
            let all = above[n * MINIBLOCK..][..MINIBLOCK].iter().fold(0, |all, value| all | value);
            u64::BITS - all.leading_zeros()
        });
        out.extend(widths.map(|width| width as u8));
        for (n, width) in widths.iter().enumerate() {
            pack(above[n * MINIBLOCK..][..MINIBLOCK].iter().copied(), *width, out);
        }
    }
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}
