//! The checksum of two stretches of bytes, one after the other, from the checksum of each: a polynomial of CRC-32C is moved
//! by multiplying it with a power of x, as zlib does since 1.2.12 (`crc32_combine`, Mark Adler). `crc32c_combine` of the crate
//! does as older ones did: it squares a matrix for every bit of the length.

/// CRC-32C (Castagnoli), the highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x to the powers 1, 2, 4, 8 and so on.
const POWERS: [u32; 31] = powers();

/// The checksum of bytes with the checksum `first` followed by `bytes` of them with the checksum `second`.
pub(crate) fn combine(first: u32, second: u32, bytes: usize) -> u32 {
    // x to the number of bits.
    let mut moved = 1 << 31;
    let mut left = bytes;
    // They repeat: x to 2^31 - 1 is 1.
    for power in POWERS.iter().cycle().skip(3) {
        if left == 0 {
            break;
        }
        if left & 1 == 1 {
            moved = multiplied(*power, moved);
        }
        left >>= 1;
    }
    multiplied(moved, first) ^ second
}

/// The product of two polynomials modulo that of the checksum.
const fn multiplied(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit > 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 1 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
}

const fn powers() -> [u32; 31] {
    let mut powers = [1 << 30; 31];
    let mut n = 1;
    while n < 31 {
        powers[n] = multiplied(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::combine;

    #[test]
    fn it_is_the_checksum_of_both_together() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let whole = crc32c::crc32c(&bytes);
        for cut in [0, 1, 2, 63, 64, 4_095, 65_536, 131_071, 199_999, 200_000] {
            let (first, second) = bytes.split_at(cut);
            let combined = combine(crc32c::crc32c(first), crc32c::crc32c(second), second.len());
            assert_eq!(combined, whole, "cut at {cut}");
        }
    }

    #[test]
    fn lengths_beyond_four_gibibytes_go_on() {
        for bytes in [usize::MAX >> 8, (1 << 40) + 12_345, 1 << 32] {
            assert_eq!(
                combine(0x1234_5678, 0x9abc_def0, bytes),
                crc32c::crc32c_combine(0x1234_5678, 0x9abc_def0, bytes)
            );
        }
    }
}
