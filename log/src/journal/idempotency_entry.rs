//! The entries that remember commits: what a retry is recognised by, and the receipt that it gets again.

use std::sync::Arc;

use crate::commit::OffsetRange;
use crate::fields::Fields;
use crate::stream::StreamId;

/// Bytes of a range in an entry.
const RANGE_BYTES: usize = 24;

/// A commit that was made under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub key: Arc<[u8]>,
    pub fingerprint: u64,
    pub append_ms: i64,
    /// The ranges of its receipt.
    pub ranges: Arc<[OffsetRange]>,
}

/// The last commits of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub producer: Arc<str>,
    /// Every sequence from this one to the last is stored.
    pub first: u64,
    pub last: u64,
    /// When the last was appended.
    pub append_ms: i64,
    /// The receipts' ranges of the last so many sequences, the newest at the end.
    pub receipts: Vec<Arc<[OffsetRange]>>,
}

impl KeyEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        out.extend_from_slice(&self.append_ms.to_le_bytes());
        put_len(out, self.key.len());
        put_ranges(out, &self.ranges);
        out.extend_from_slice(&self.key);
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let (fingerprint, append_ms) = (fields.try_u64()?, fields.try_u64()?.cast_signed());
        let key_bytes = usize::try_from(fields.try_u32()?).ok()?;
        let ranges = take_ranges(&mut fields)?;
        let key = fields.take(key_bytes)?.into();
        fields.is_empty().then_some(Self { key, fingerprint, append_ms, ranges })
    }

    /// About the size in a checkpoint.
    pub(crate) fn bytes(&self) -> u64 {
        (super::entry::ENTRY_HEADER_BYTES + 24 + self.key.len() + self.ranges.len() * RANGE_BYTES) as u64
    }
}

impl ProducerEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for sequence in [self.first, self.last] {
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        out.extend_from_slice(&self.append_ms.to_le_bytes());
        put_len(out, self.producer.len());
        put_len(out, self.receipts.len());
        for ranges in &self.receipts {
            put_ranges(out, ranges);
        }
        out.extend_from_slice(self.producer.as_bytes());
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let (first, last, append_ms) = (fields.try_u64()?, fields.try_u64()?, fields.try_u64()?.cast_signed());
        let name_bytes = usize::try_from(fields.try_u32()?).ok()?;
        let receipts = (0..fields.try_u32()?).map(|_| take_ranges(&mut fields)).collect::<Option<_>>()?;
        let producer = std::str::from_utf8(fields.take(name_bytes)?).ok()?.into();
        fields.is_empty().then_some(Self { producer, first, last, append_ms, receipts })
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).expect("keys, names and ranges of a commit fit u32").to_le_bytes());
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[OffsetRange]) {
    put_len(out, ranges.len());
    for OffsetRange { stream, partition, start, end } in ranges {
        out.extend_from_slice(&stream.0.to_le_bytes());
        out.extend_from_slice(&partition.to_le_bytes());
        out.extend_from_slice(&start.to_le_bytes());
        out.extend_from_slice(&end.to_le_bytes());
    }
}

fn take_ranges(fields: &mut Fields<'_>) -> Option<Arc<[OffsetRange]>> {
    let count = usize::try_from(fields.try_u32()?).ok()?;
    // Taken as a whole first: a count that is too large must not reserve memory.
    let mut ranges = Fields::new(fields.take(count.checked_mul(RANGE_BYTES)?)?);
    let range = |_| OffsetRange {
        stream: StreamId(ranges.u32()),
        partition: ranges.u32(),
        start: ranges.u64(),
        end: ranges.u64(),
    };
    Some((0..count).map(range).collect())
}
