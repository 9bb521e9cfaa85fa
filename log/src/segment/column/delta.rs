//! Parquet's `DELTA_BINARY_PACKED`: what each value is more than the one before it, bit-packed with as many bits as the
//! largest of its block needs.

use super::hybrid::{pack, varint};

const BLOCK: usize = 128;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// Appends `values`; of `narrow` ones the lower 32 bits are the value, whatever its sign, and so are their differences.
pub(super) fn encode(values: &[u64], narrow: bool, out: &mut Vec<u8>) {
    let signed = |value: u64| if narrow { lower_half(value.cast_signed()) } else { value.cast_signed() };
    varint(BLOCK as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(values.len() as u64, out);
    let first = values.first().map_or(0, |first| signed(*first));
    zigzag(first, out);
    let mut before = first;
    for block in values.get(1..).unwrap_or_default().chunks(BLOCK) {
        let mut deltas = [0_i64; BLOCK];
        for (delta, value) in deltas.iter_mut().zip(block) {
            let value = signed(*value);
            let exact = value.wrapping_sub(before);
            *delta = if narrow { lower_half(exact) } else { exact };
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

/// The lower 32 bits as a number with a sign.
fn lower_half(value: i64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "narrow values wrap at 32 bits")]
    let lower = value as i32;
    i64::from(lower)
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}
