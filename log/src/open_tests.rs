//! The identity survives, and no other bytes pass for one.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn identity_round_trips_and_every_flipped_bit_is_noticed(log_id in any::<u64>()) {
        let bytes = encode_identity(log_id);
        prop_assert_eq!(decode_identity(Path::new("LOG"), &bytes).unwrap(), log_id);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = decode_identity(Path::new("LOG"), &damaged);
            prop_assert!(matches!(found, Err(Error::Corrupt { .. })), "bit {}", bit);
        }
    }

    #[test]
    fn any_bytes_are_no_identity(bytes in any::<[u8; 32]>()) {
        prop_assert!(decode_identity(Path::new("LOG"), &bytes).is_err());
    }
}

#[test]
fn an_identity_cut_short_is_damage_and_another_version_is_named() {
    let disk = crate::fuzzing::MemoryDisk::default();
    let mut bytes = encode_identity(7);
    for len in 0..bytes.len() {
        disk.put(Path::new("/LOG"), bytes[..len].to_vec());
        assert!(matches!(read_identity(&disk, Path::new("/")), Err(Error::Corrupt { .. })), "{len} bytes");
    }
    put(&mut bytes, 8, &9_u16.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    put(&mut bytes, 28, &crc.to_le_bytes());
    let found = decode_identity(Path::new("/LOG"), &bytes);
    assert!(matches!(found, Err(Error::Version { expected: 1, found: 9, .. })));
}
