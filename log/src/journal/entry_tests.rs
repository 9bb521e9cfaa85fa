//! Every entry survives encoding, whatever its content; bytes that are no entries give an error, never a panic.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::commit::OffsetRange;

fn aligned(bytes: &[u8]) -> Buffer {
    Buffer::from_slice_ref(bytes)
}

fn place() -> impl Strategy<Value = (StreamId, u32)> {
    (any::<u32>().prop_map(StreamId), any::<u32>())
}

fn spec() -> impl Strategy<Value = StreamSpec> {
    let data_type = prop_oneof![
        Just(DataType::Utf8),
        Just(DataType::Float64),
        Just(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        Just(DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))),
    ];
    let fields = prop::collection::vec((".*", data_type, any::<bool>()), 0..5);
    let retention = (prop::option::of(0..NONE - 1), prop::option::of(0..NONE - 1))
        .prop_map(|(age, max_bytes)| Retention { max_age: age.map(Duration::from_millis), max_bytes });
    (".*", fields, any::<u32>(), prop::collection::vec(".*", 0..3), retention).prop_map(
        |(name, fields, partitions, partition_key, retention)| {
            let fields: Vec<Field> = fields.into_iter().map(|(name, ty, nulls)| Field::new(name, ty, nulls)).collect();
            StreamSpec { name, schema: Arc::new(Schema::new(fields)), partitions, partition_key, retention }
        },
    )
}

fn rows() -> impl Strategy<Value = Entry> {
    // A batch's parts are padded to 8 by the encoder of batches.
    let words = || prop::collection::vec(any::<[u8; 8]>(), 0..20).prop_map(|words| words.concat());
    (place(), 0..u64::MAX - u64::from(u32::MAX), any::<[u32; 2]>(), words(), words()).prop_map(
        |((stream, partition), base_offset, [rows, schema_version], message, body)| {
            Entry::Rows(RowsEntry {
                stream,
                partition,
                base_offset,
                rows,
                schema_version,
                message: aligned(&message),
                body: aligned(&body),
            })
        },
    )
}

fn ranges() -> impl Strategy<Value = Arc<[OffsetRange]>> {
    let range = (place(), any::<[u64; 2]>()).prop_map(|((stream, partition), [start, end])| OffsetRange {
        stream,
        partition,
        start,
        end,
    });
    prop::collection::vec(range, 0..4).prop_map(Arc::from)
}

fn entry_of_any_kind() -> impl Strategy<Value = Entry> {
    prop_oneof![
        rows(),
        (any::<u32>().prop_map(StreamId), spec(), any::<u32>()).prop_map(|(id, spec, schema_version)| Entry::Stream {
            id,
            spec,
            schema_version
        }),
        (".*", place(), any::<u64>()).prop_map(|(name, (stream, partition), next_offset)| Entry::Cursor {
            name,
            stream,
            partition,
            next_offset
        }),
        (".*", prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(key, value)| Entry::Put { key, value }),
        ".*".prop_map(|key| Entry::Delete { key }),
        (place(), any::<[u64; 3]>()).prop_map(|((stream, partition), [start, sealed, next])| Entry::Partition {
            stream,
            partition,
            start,
            sealed,
            next
        }),
        (place(), any::<u64>()).prop_map(|((stream, partition), start)| Entry::Start { stream, partition, start }),
        (prop::collection::vec(any::<u8>(), 0..300), any::<u64>(), any::<i64>(), ranges()).prop_map(
            |(key, fingerprint, append_ms, ranges)| Entry::Key(KeyEntry {
                key: key.into(),
                fingerprint,
                append_ms,
                ranges
            })
        ),
        (".*", any::<[u64; 2]>(), any::<i64>(), prop::collection::vec(ranges(), 0..6)).prop_map(
            |(producer, [first, last], append_ms, receipts)| Entry::Producer(ProducerEntry {
                producer: producer.into(),
                first,
                last,
                append_ms,
                receipts
            })
        ),
    ]
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        entry.encode(&mut bytes);
    }
    bytes
}

proptest! {
    #[test]
    fn round_trip(entries in prop::collection::vec(entry_of_any_kind(), 0..6)) {
        let bytes = encode(&entries);
        prop_assert_eq!(bytes.len() % 8, 0);
        prop_assert_eq!(Entry::decode_all(&aligned(&bytes)), Ok(entries));
    }

    #[test]
    fn cut_short_is_an_error_or_fewer_entries(entry in entry_of_any_kind()) {
        let bytes = encode(&[entry]);
        for keep in 0..bytes.len() {
            // Only padding may be missing.
            if let Ok(found) = Entry::decode_all(&aligned(&bytes[..keep])) {
                prop_assert!(found.is_empty() && keep == 0 || keep + 8 > bytes.len(), "{} bytes", keep);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..11_u16) {
        let mut bytes = bytes;
        if bytes.len() >= 16 {
            let len = (bytes.len() - 16) as u64;
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            bytes[8..16].copy_from_slice(&len.to_le_bytes());
        }
        let _ = Entry::decode_all(&aligned(&bytes));
    }
}

#[test]
fn lengths_beyond_what_is_there_are_refused() {
    for kind in 0..9_u16 {
        for len in [1, 8, 1 << 31, u64::MAX - 16, u64::MAX] {
            let mut bytes = [&kind.to_le_bytes()[..], &[0; 6], &len.to_le_bytes()].concat();
            assert!(Entry::decode_all(&aligned(&bytes)).is_err(), "kind {kind}, {len} bytes");
            bytes[8..16].copy_from_slice(&64_u64.to_le_bytes());
            // Every length in the payload says more than there is.
            bytes.extend([0xff; 64]);
            let found = Entry::decode_all(&aligned(&bytes));
            let has_no_length = [KIND_PARTITION, KIND_START].contains(&kind);
            assert_eq!(found.is_ok(), has_no_length, "kind {kind}: {found:?}");
        }
    }
}
