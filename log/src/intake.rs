//! From a caller's commit to the queue: checks the rows, places them in partitions, encodes the large batches. All of
//! it runs in the caller's thread, so that the writer only writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use tokio::sync::oneshot;

use crate::adapt::Adapter;
use crate::catalog::{StreamEntry, describe};
use crate::commit::{Commit, Receipt};
use crate::error::{Error, Result};
use crate::idempotency::CommitId;
use crate::ipc::encode_batch;
use crate::journal::{Entry, Pending, Piece, PieceRows};
use crate::route::split_by_key;
use crate::shared::Shared;
use crate::stream::Stream;

/// From this many rows on a batch is encoded by the caller.
const ENCODE_ROWS: usize = 256;
/// From this many bytes on too.
const ENCODE_BYTES: usize = 64 << 10;
/// Longer batches are cut, which bounds what readers get at once.
const MAX_PIECE_ROWS: usize = 64 << 10;

/// The answer to a commit, once there is one.
pub(crate) type Reply = oneshot::Receiver<Result<Receipt>>;

/// Puts a commit into the queue.
pub(crate) fn queue(shared: &Shared, commit: Commit) -> Result<Reply> {
    if let Some(poisoned) = shared.poison.error() {
        return Err(poisoned);
    }
    let (reply, answer) = oneshot::channel();
    if let Some(receipt) = earlier_receipt(shared, &commit)? {
        // Nobody has dropped the other end yet.
        let _ = reply.send(Ok(receipt));
        return Ok(answer);
    }
    let cap_bytes = shared.options.tail_bytes;
    let has_rows = commit.rows.iter().any(|(_, _, rows)| rows.num_rows() > 0);
    if has_rows && shared.space.is_low() {
        metrics::counter!("thermocline_log_refused_full_total").increment(1);
        return Err(Error::Full { path: shared.dir.clone() });
    }
    let used = if has_rows { shared.memory.total() } else { shared.memory.queued.load(Ordering::Relaxed) };
    if used >= cap_bytes {
        shared.sealer.notify();
        if shared.sealer.disk_full.load(Ordering::Relaxed) {
            return Err(Error::Full { path: shared.dir.clone() });
        }
        metrics::counter!("thermocline_log_overloaded_total").increment(1);
        return Err(Error::Overloaded { cap_bytes });
    }
    let pending = prepare(shared, commit, reply)?;
    let bytes = pending.bytes;
    shared.memory.queued.fetch_add(bytes, Ordering::Relaxed);
    shared.queue.push(pending).inspect_err(|_| {
        shared.memory.queued.fetch_sub(bytes, Ordering::Relaxed);
    })?;
    Ok(answer)
}

/// Puts entries that only the log itself makes into the queue.
pub(crate) fn queue_entries(shared: &Shared, entries: Vec<Entry>, must_sync: bool) -> Result<Reply> {
    let (reply, answer) = oneshot::channel();
    shared.queue.push(Pending { pieces: Vec::new(), entries, id: None, bytes: 0, must_sync, reply })?;
    Ok(answer)
}

/// The receipt of a commit that is known to have been made before. Of those still in the queue the writer knows; this
/// saves the work for the others.
fn earlier_receipt(shared: &Shared, commit: &Commit) -> Result<Option<Receipt>> {
    let Some(id) = &commit.id else { return Ok(None) };
    id.check()?;
    if shared.queue.is_closing() {
        return Err(Error::Closed);
    }
    let receipt = shared.recent_commits.answer(id, shared.options.clock.now_ms())?;
    if receipt.is_some() {
        metrics::counter!("thermocline_log_duplicates_total").increment(1);
    }
    Ok(receipt)
}

fn prepare(shared: &Shared, commit: Commit, reply: oneshot::Sender<Result<Receipt>>) -> Result<Pending> {
    let bytes = commit.id.as_ref().map_or(0, CommitId::bytes);
    let mut pending =
        Pending { pieces: Vec::new(), entries: Vec::new(), id: commit.id, bytes, must_sync: false, reply };
    for (stream, partition, rows) in commit.rows {
        let stream = shared.catalog.expect(stream)?;
        if let Some(partition) = partition {
            stream.partition(partition)?;
        }
        for (partition, rows) in place(&stream, partition, fit(&stream, rows)?)? {
            add_pieces(&mut pending, &stream, partition, &rows)?;
        }
    }
    for (name, stream, partition, next_offset) in commit.cursors {
        shared.catalog.expect(stream)?.partition(partition)?;
        pending.bytes += name.len() as u64 + 32;
        pending.entries.push(Entry::Cursor { name, stream, partition, next_offset });
    }
    for (key, value) in commit.values {
        pending.bytes += (key.len() + value.as_ref().map_or(0, Vec::len)) as u64 + 32;
        pending.entries.push(match value {
            Some(value) => Entry::Put { key, value },
            None => Entry::Delete { key },
        });
    }
    Ok(pending)
}

/// The rows under the stream's own schema. They may have one that the stream had before: who appends need not change at
/// the same moment as the stream.
fn fit(stream: &StreamEntry, rows: RecordBatch) -> Result<RecordBatch> {
    let schema = stream.stream.schema();
    if Arc::ptr_eq(schema, rows.schema_ref()) {
        return Ok(rows);
    }
    if !same_columns(schema, rows.schema_ref()) {
        return fit_older(&stream.stream, &rows);
    }
    let nulls = |(index, field): (usize, &Arc<arrow::datatypes::Field>)| {
        !field.is_nullable() && rows.column(index).null_count() > 0
    };
    if schema.fields().iter().enumerate().any(nulls) {
        return Err(mismatch(&stream.stream, &rows));
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), rows.columns().to_vec())?)
}

/// Rows of an earlier schema of the stream, under the newest.
fn fit_older(stream: &Stream, rows: &RecordBatch) -> Result<RecordBatch> {
    let (schema, found) = (stream.schema(), rows.schema_ref());
    if !stream.schemas().any(|(_, earlier)| same_columns(earlier, found)) {
        return Err(mismatch(stream, rows));
    }
    match Adapter::new(stream.name(), found, schema)?.adapt(rows) {
        // A NULL where the column has none.
        Err(Error::SchemaChanged { .. }) => Err(mismatch(stream, rows)),
        adapted => adapted,
    }
}

/// Whether two schemas have the same names and types in the same order.
fn same_columns(ours: &Schema, theirs: &Schema) -> bool {
    ours.fields().len() == theirs.fields().len()
        && ours
            .fields()
            .iter()
            .zip(theirs.fields())
            .all(|(ours, theirs)| ours.name() == theirs.name() && ours.data_type() == theirs.data_type())
}

fn mismatch(stream: &Stream, rows: &RecordBatch) -> Error {
    Error::SchemaMismatch {
        stream: stream.name().to_owned(),
        expected: describe(stream.schema()),
        found: describe(rows.schema_ref()),
    }
}

/// The rows by partition.
fn place(stream: &StreamEntry, asked: Option<u32>, rows: RecordBatch) -> Result<Vec<(u32, RecordBatch)>> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let partitions = stream.stream.partitions();
    match asked {
        Some(partition) => Ok(vec![(partition, rows)]),
        None if partitions == 1 => Ok(vec![(0, rows)]),
        None if stream.key_columns.is_empty() => Ok(vec![(stream.round_robin(), rows)]),
        None => Ok(split_by_key(&rows, &stream.key_columns, partitions)?),
    }
}

fn add_pieces(pending: &mut Pending, stream: &StreamEntry, partition: u32, rows: &RecordBatch) -> Result<()> {
    let (id, schema_version) = (stream.stream.id(), stream.stream.schema_version());
    for start in (0..rows.num_rows()).step_by(MAX_PIECE_ROWS) {
        let batch = rows.slice(start, MAX_PIECE_ROWS.min(rows.num_rows() - start));
        let bytes = slice_bytes(&batch);
        let rows = if batch.num_rows() >= ENCODE_ROWS || bytes >= ENCODE_BYTES {
            let encoded = encode_batch(&batch)?;
            pending.bytes += encoded.bytes();
            PieceRows::Encoded(encoded.compacted(batch)?, encoded)
        } else {
            pending.bytes += bytes as u64;
            PieceRows::Small(batch)
        };
        pending.pieces.push(Piece { stream: id, partition, schema_version, rows, continues: start > 0 });
    }
    Ok(())
}

/// Bytes that the rows take, without what else their buffers hold.
fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
