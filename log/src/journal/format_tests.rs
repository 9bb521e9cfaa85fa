//! The headers' round trip, and that every flipped bit is noticed.

use proptest::prelude::*;

use super::*;

fn frame_header() -> FrameHeader {
    FrameHeader {
        checkpoint: true,
        group: 77,
        append_ms: -5,
        synced_upto: Position { file: 3, offset: 4096 },
        body_bytes: 8 << 20,
        body_crc: 0x1234_5678,
        entries: 9,
    }
}

#[test]
fn headers_round_trip() {
    let file = FileHeader { sequence: 5, log_id: 42, created_ms: 1_700_000_000_000, first_group: 1000 };
    assert_eq!(FileHeader::decode(&file.encode()), Ok(file));
    assert_eq!(FrameHeader::decode(&frame_header().encode(42), 42), Ok(frame_header()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = frame_header().encode(42);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(FrameHeader::decode(&damaged, 42), Err(HeaderFault::Damaged(_))), "bit {bit}");
    }
}

#[test]
fn a_frame_of_another_log_is_damage() {
    assert!(matches!(FrameHeader::decode(&frame_header().encode(42), 43), Err(HeaderFault::Damaged(_))));
}

#[test]
fn zeros_are_blank_and_another_version_is_named() {
    assert_eq!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES], 42), Err(HeaderFault::Blank));
    assert_eq!(FrameHeader::decode(&with_version(VERSION + 1), 42), Err(HeaderFault::Version(VERSION + 1)));
    assert_eq!(FrameHeader::decode(&with_version(0), 42), Err(HeaderFault::Version(0)));
}

#[test]
fn older_versions_are_read() {
    for version in 1..=VERSION {
        assert_eq!(FrameHeader::decode(&with_version(version), 42), Ok(frame_header()), "version {version}");
    }
}

fn with_version(version: u16) -> [u8; FRAME_HEADER_BYTES] {
    let mut bytes = frame_header().encode(42);
    put(&mut bytes, 4, &version.to_le_bytes());
    let crc = seeded_crc(42, &bytes[..60]);
    put(&mut bytes, 60, &crc.to_le_bytes());
    bytes
}

#[test]
fn every_flipped_bit_of_a_file_header_is_noticed() {
    let bytes = FileHeader { sequence: 5, log_id: 42, created_ms: -1, first_group: 1000 }.encode();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(FileHeader::decode(&damaged), Err(HeaderFault::Damaged(_))), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_file_header_round_trips(
        sequence in any::<u64>(), log_id in any::<u64>(), created_ms in any::<i64>(), first_group in any::<u64>(),
    ) {
        let header = FileHeader { sequence, log_id, created_ms, first_group };
        prop_assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn any_frame_header_round_trips_for_its_log_alone(
        (checkpoint, group, append_ms) in any::<(bool, u64, i64)>(),
        (file, offset, body_bytes) in any::<(u64, u64, u64)>(),
        (body_crc, entries, log_id, other) in any::<(u32, u32, u64, u64)>(),
        bit in 0..FRAME_HEADER_BYTES * 8,
    ) {
        let synced_upto = Position { file, offset };
        let header = FrameHeader { checkpoint, group, append_ms, synced_upto, body_bytes, body_crc, entries };
        let mut bytes = header.encode(log_id);
        prop_assert_eq!(FrameHeader::decode(&bytes, log_id), Ok(header));
        prop_assert!(log_id == other || FrameHeader::decode(&bytes, other).is_err());
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(matches!(FrameHeader::decode(&bytes, log_id), Err(HeaderFault::Damaged(_))));
    }

    #[test]
    fn any_bytes_are_no_header(mut bytes in prop::array::uniform32(any::<[u8; 2]>()), magic in any::<bool>()) {
        if magic {
            (bytes[0], bytes[1]) = (*b"TC", *b"FR");
        }
        let bytes: &[u8; 64] = bytes.as_flattened().try_into().unwrap();
        prop_assert!(FrameHeader::decode(bytes, 42).is_err());
        prop_assert!(FileHeader::decode(bytes).is_err());
    }
}
