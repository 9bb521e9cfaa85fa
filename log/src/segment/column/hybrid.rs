//! Parquet's `RLE`: small numbers as runs of one value or bit-packed by eight. Also the bit packing of other encodings.

/// A run of bit-packed groups costs a byte of header, one of a repeated value up to five; less is not worth a run.
const MIN_SAVED_BYTES: usize = 8;
/// Groups of a bit-packed run, whose header is a byte then.
const MAX_GROUPS: usize = 63;

/// Bits of the largest of `values`.
pub(super) fn width_of(values: &[u32]) -> u32 {
    u32::BITS - values.iter().fold(0, |all, value| all | value).leading_zeros()
}

/// Appends `values`, which have at most `width` bits.
pub(super) fn encode(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let value_bytes = width.div_ceil(8) as usize;
    let min_run = 8 * MIN_SAVED_BYTES.div_ceil(width.max(1) as usize);
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let rest = &values[at..];
        let group = &rest[..rest.len().min(8)];
        if group.len() == 8 && group.iter().any(|value| *value != group[0]) {
            at += 8;
            continue;
        }
        let run = rest.iter().take_while(|value| **value == rest[0]).count();
        if run >= min_run || run == values.len() {
            pack_groups(&values[packed_from..at], width, out);
            varint((run as u64) << 1, out);
            out.extend_from_slice(&rest[0].to_le_bytes()[..value_bytes]);
            at += run;
            packed_from = at;
        } else {
            at += group.len();
        }
    }
    pack_groups(&values[packed_from..], width, out);
}

/// Only the last run may have a last group that is not full.
fn pack_groups(values: &[u32], width: u32, out: &mut Vec<u8>) {
    for run in values.chunks(8 * MAX_GROUPS) {
        let groups = run.len().div_ceil(8);
        varint((groups as u64) << 1 | 1, out);
        let end = out.len() + groups * width as usize;
        pack(run.iter().map(|value| u64::from(*value)), width, out);
        out.resize(end, 0);
    }
}

/// Appends `values`, each of `width` bits, from the lowest bit of the first byte on; a last byte is filled up with zeros.
#[inline]
pub(super) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut word, mut bits) = (0_u64, 0);
    for value in values {
        word |= value << bits;
        bits += width;
        if bits >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            bits -= u64::BITS;
            word = if bits == 0 { 0 } else { value >> (width - bits) };
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Appends an unsigned LEB128.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
