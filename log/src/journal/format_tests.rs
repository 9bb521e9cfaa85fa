//! The headers' round trip, and that every flipped bit is noticed.

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
