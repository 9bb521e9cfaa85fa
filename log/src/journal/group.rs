//! Turns queued commits into one commit group: assigns offsets, joins the small batches of a partition, and lays out
//! the frame's body as a list of byte parts, so that large batches are written without being copied again.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;

use crate::commit::{OffsetRange, Receipt};
use crate::crc;
use crate::error::Result;
use crate::idempotency::GroupIds;
use crate::ipc::{EncodedBatch, encode_batch};
use crate::journal::entry::{Entry, encode_rows_header};
use crate::journal::queue::{Pending, Piece, PieceRows};
use crate::stream::StreamId;

/// Small batches are joined up to this many rows.
const JOIN_ROWS: usize = 8192;
/// From this size on, combining checksums is cheaper than computing them again.
const COMBINE_BYTES: usize = 16 << 10;

/// Rows that the group adds to a partition.
#[derive(Debug)]
pub(crate) struct NewRows {
    pub stream: StreamId,
    pub partition: u32,
    pub base_offset: u64,
    pub schema_version: u32,
    pub batch: RecordBatch,
    /// Size as encoded.
    pub bytes: u64,
}

/// A group ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub parts: Vec<Buffer>,
    pub body_crc: u32,
    pub body_bytes: u64,
    pub entries: u32,
    pub rows: Vec<NewRows>,
    /// Everything that is not rows, in commit order.
    pub changes: Vec<Entry>,
    /// The answer to each commit, in order, for the time when the group is durable.
    pub answers: Vec<Result<Receipt>>,
    /// How many commits the group stores: those that are neither duplicates nor refused.
    pub stored: u64,
    /// Next offset of every partition that got rows.
    pub next: HashMap<(StreamId, u32), u64>,
}

/// Builds the group of `commits`; `ids` tells which of them were made before, `next_offset` where a partition stands.
pub(crate) fn build(
    commits: &mut [Pending],
    ids: &mut GroupIds<'_>,
    next_offset: impl Fn(StreamId, u32) -> u64,
) -> Result<Group> {
    let mut builder = Builder { group: Group::default(), next_offset, placed: Vec::new(), waiting: HashMap::new() };
    for commit in commits {
        let answer = builder.decide(commit, ids);
        builder.group.answers.push(answer);
    }
    let mut encoded = Vec::new();
    for change in &builder.group.changes {
        change.encode(&mut encoded);
    }
    builder.group.entries = u32::try_from(builder.group.changes.len()).expect("a group's entries fit u32");
    if !encoded.is_empty() {
        builder.group.push_part(Buffer::from_vec(encoded));
    }
    for (start, piece) in std::mem::take(&mut builder.placed) {
        builder.push(start, piece)?;
    }
    builder.finish()
}

struct Builder<F> {
    group: Group,
    next_offset: F,
    /// The rows to store, each with the offset of the first.
    placed: Vec<(u64, Piece)>,
    /// Small batches of a partition that are not encoded yet.
    waiting: HashMap<(StreamId, u32), Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    base_offset: u64,
    schema_version: u32,
    rows: usize,
    batches: Vec<RecordBatch>,
}

impl<F: Fn(StreamId, u32) -> u64> Builder<F> {
    /// Takes a commit into the group, or tells that it was made before.
    fn decide(&mut self, commit: &mut Pending, ids: &mut GroupIds<'_>) -> Result<Receipt> {
        if let Some(id) = &commit.id
            && let Some(receipt) = ids.check(id)?
        {
            metrics::counter!("thermocline_log_duplicates_total").increment(1);
            return Ok(receipt);
        }
        let receipt = self.place(std::mem::take(&mut commit.pieces));
        self.group.changes.append(&mut commit.entries);
        if let Some(id) = commit.id.take() {
            self.group.changes.push(ids.add(id, &receipt));
        }
        self.group.stored += 1;
        Ok(receipt)
    }

    /// Gives the rows of a commit their offsets.
    fn place(&mut self, pieces: Vec<Piece>) -> Receipt {
        let mut receipt = Receipt { ranges: Vec::with_capacity(pieces.len()), duplicate: false };
        for piece in pieces {
            let Piece { stream, partition, ref rows, continues, .. } = piece;
            let next_offset = &self.next_offset;
            let next = self.group.next.entry((stream, partition)).or_insert_with(|| next_offset(stream, partition));
            let start = *next;
            *next += rows.num_rows() as u64;
            let end = *next;
            match receipt.ranges.last_mut() {
                Some(last) if continues => last.end = end,
                _ => receipt.ranges.push(OffsetRange { stream, partition, start, end }),
            }
            self.placed.push((start, piece));
        }
        receipt
    }

    fn push(&mut self, start: u64, Piece { stream, partition, schema_version, rows, .. }: Piece) -> Result<()> {
        match rows {
            PieceRows::Small(batch) => self.wait(stream, partition, start, schema_version, batch),
            PieceRows::Encoded(batch, encoded) => {
                self.encode_waiting(stream, partition)?;
                self.group.push_rows(stream, partition, start, schema_version, batch, encoded);
                Ok(())
            }
        }
    }

    fn wait(
        &mut self,
        stream: StreamId,
        partition: u32,
        start: u64,
        schema_version: u32,
        batch: RecordBatch,
    ) -> Result<()> {
        if self.waiting.get(&(stream, partition)).is_some_and(|waiting| waiting.schema_version != schema_version) {
            // The stream's columns were changed in between.
            self.encode_waiting(stream, partition)?;
        }
        let waiting = self.waiting.entry((stream, partition)).or_default();
        if waiting.batches.is_empty() {
            waiting.base_offset = start;
            waiting.schema_version = schema_version;
        }
        waiting.rows += batch.num_rows();
        waiting.batches.push(batch);
        if waiting.rows >= JOIN_ROWS {
            self.encode_waiting(stream, partition)?;
        }
        Ok(())
    }

    fn encode_waiting(&mut self, stream: StreamId, partition: u32) -> Result<()> {
        let Some(waiting) = self.waiting.get_mut(&(stream, partition)) else { return Ok(()) };
        let Waiting { base_offset, schema_version, batches, .. } = std::mem::take(waiting);
        let batch = match batches.as_slice() {
            [] => return Ok(()),
            [only] => only.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &batches)?,
        };
        let encoded = encode_batch(&batch)?;
        let batch = encoded.compacted(batch)?;
        self.group.push_rows(stream, partition, base_offset, schema_version, batch, encoded);
        Ok(())
    }

    fn finish(mut self) -> Result<Group> {
        let mut partitions: Vec<_> = self.waiting.keys().copied().collect();
        partitions.sort_unstable();
        for (stream, partition) in partitions {
            self.encode_waiting(stream, partition)?;
        }
        Ok(self.group)
    }
}

impl Group {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn push_rows(
        &mut self,
        stream: StreamId,
        partition: u32,
        base_offset: u64,
        schema_version: u32,
        batch: RecordBatch,
        encoded: EncodedBatch,
    ) {
        let rows = u32::try_from(batch.num_rows()).expect("batches are cut far below 2^32 rows");
        let EncodedBatch { message, body, crc } = encoded;
        let header =
            encode_rows_header(stream, partition, base_offset, rows, schema_version, message.len(), body.len());
        let bytes = (header.len() + message.len() + body.len()) as u64;
        self.push_part(Buffer::from_vec(header));
        let data_bytes = message.len() + body.len();
        if data_bytes >= COMBINE_BYTES {
            self.body_crc = crc::combine(self.body_crc, crc, data_bytes);
            self.body_bytes += data_bytes as u64;
            self.parts.extend([Buffer::from_vec(message), body]);
        } else {
            self.push_part(Buffer::from_vec(message));
            self.push_part(body);
        }
        self.entries += 1;
        self.rows.push(NewRows { stream, partition, base_offset, schema_version, batch, bytes });
    }

    fn push_part(&mut self, part: Buffer) {
        self.body_crc = crc32c::crc32c_append(self.body_crc, &part);
        self.body_bytes += part.len() as u64;
        self.parts.push(part);
    }
}
