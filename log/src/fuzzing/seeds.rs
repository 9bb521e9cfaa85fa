//! Inputs to begin with, made by the log itself.

use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::builder::{ListBuilder, StringBuilder, StringViewBuilder};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int8Array, Int64Array,
    NullArray, RecordBatch, StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};

use super::disk::MemoryDisk;
use super::journal::{LOG_ID, PREFIX_BYTES};
use crate::disk::Disk;
use crate::ipc::{encode_batch, encode_schema};
use crate::journal::{FRAME_HEADER_BYTES, FrameHeader, path_of};
use crate::open::encode_identity;
use crate::options::LogOptions;
use crate::segment::{SegmentName, SegmentWriter};
use crate::stream::{Retention, StreamSpec};
use crate::{Commit, Log};

/// Batches of the kinds of columns there are; a stream each.
pub(super) fn batches() -> &'static [(&'static str, RecordBatch)] {
    static BATCHES: LazyLock<Vec<(&'static str, RecordBatch)>> = LazyLock::new(make_batches);
    &BATCHES
}

fn make_batches() -> Vec<(&'static str, RecordBatch)> {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)]));
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("a"), None, Some("bcd")]);
    lists.append_null();
    lists.append_value([] as [Option<&str>; 0]);
    let mut views = StringViewBuilder::new();
    views.extend([Some("short"), None, Some("a text that is too long to be in line")]);
    let point = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Float64, true)), Arc::clone(&floats))]);
    let texts = StringArray::from(vec![Some("pump-1"), None, Some("")]);
    let kinds: Vec<(&'static str, Vec<ArrayRef>)> = vec![
        ("readings", vec![Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3])), Arc::new(texts), floats]),
        ("nested", vec![Arc::new(lists.finish()), Arc::new(point)]),
        ("views", vec![Arc::new(views.finish()), Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))]),
        (
            "others",
            vec![
                Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\0\xff"), None, Some(b"")])),
                Arc::new(
                    FixedSizeBinaryArray::try_from_iter([b"abcd", b"efgh", b"ijkl"].into_iter()).expect("of one size"),
                ),
                Arc::new(Decimal128Array::from(vec![Some(-1), None, Some(i128::MAX / 1000)])),
                Arc::new(NullArray::new(3)),
                Arc::new(Int8Array::from(vec![1, 2, 3])),
            ],
        ),
        ("plain", vec![Arc::new(Int64Array::from(vec![-1, 0, 1]))]),
    ];
    kinds.into_iter().map(|(name, columns)| (name, batch(columns))).collect()
}

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let name = |index: usize| format!("c{index}");
    let field = |(index, column): (usize, &ArrayRef)| Field::new(name(index), column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

/// The inputs of each target.
///
/// # Errors
/// Those of the log that makes them; its disk is memory.
pub fn seeds() -> crate::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut seeds = vec![("identity", [&[1_u8][..], &encode_identity(LOG_ID)].concat())];
    let name = SegmentName { start: 7, end: 12, append_ms: 1_700_000_000_000, crc: 0xdead_beef };
    seeds.push(("names", name.to_string().into_bytes()));
    seeds.push(("names", b"00000000000000000007.wal".to_vec()));
    for (choice, (_, batch)) in (0_u8..).zip(batches()) {
        seeds.push(("schema", encode_schema(&batch.schema())));
        let encoded = encode_batch(batch)?;
        let words = u16::try_from(encoded.message.len() / 8).expect("a short message");
        let [low, high] = words.to_le_bytes();
        seeds.push(("rows", [&[choice, low, high], encoded.message.as_slice(), encoded.body.as_slice()].concat()));
        let [low, high] = u16::try_from(batch.num_rows()).expect("few rows").to_le_bytes();
        seeds.push(("segment", [&[choice, 0, low, high], segment(batch)?.as_slice()].concat()));
    }
    for content in journal_files()? {
        let length = u32::try_from(content.len()).expect("a short file").to_le_bytes();
        seeds.push(("journal", [&[0; PREFIX_BYTES - 4], length.as_slice(), content.as_slice()].concat()));
        seeds.extend(bodies(&content).into_iter().map(|body| ("entries", body.to_vec())));
    }
    Ok(seeds)
}

/// Writes the seeds into folders of `folder`, one for each target.
///
/// # Errors
/// What the file system says.
pub fn write_seeds(folder: &Path) -> io::Result<()> {
    let seeds = seeds().map_err(io::Error::other)?;
    for (number, (target, bytes)) in seeds.into_iter().enumerate() {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(())
}

fn segment(batch: &RecordBatch) -> crate::Result<Vec<u8>> {
    let memory = MemoryDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut writer = SegmentWriter::create(&disk, Path::new("/"), &batch.schema(), 0, batch.num_rows() as u64)?;
    writer.write(batch, 0)?;
    writer.finish()?;
    Ok(memory.files().remove(0).1)
}

/// The journal of a log with every kind of entry in it: one file written from the beginning, and one that goes on after
/// it, which begins with a checkpoint of everything.
fn journal_files() -> crate::Result<Vec<Vec<u8>>> {
    let disk = MemoryDisk::default();
    let dir = Path::new("/log");
    disk.put(&dir.join(crate::open::IDENTITY_FILE), encode_identity(LOG_ID).to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    for round in 0..2 {
        let log = Log::open(dir, LogOptions { disk: Arc::new(disk.clone()), ..LogOptions::default() })?;
        runtime.block_on(async {
            for (name, batch) in batches() {
                let retention = Retention { max_bytes: Some(1 << 40), ..Retention::default() };
                let spec = StreamSpec {
                    partitions: 2,
                    partition_key: vec!["c0".to_owned()],
                    retention,
                    ..StreamSpec::new(*name, batch.schema())
                };
                let stream = log.create_stream(spec).await?;
                let mut commit = Commit::new();
                commit.append_to(stream.id(), 1, batch.clone()).move_cursor("report", stream.id(), 1, round);
                commit.put(format!("state/{name}"), *b"\x01\x02").put("gone", "soon");
                log.commit(commit).await?;
            }
            let mut commit = Commit::new();
            commit.delete("gone");
            log.commit(commit).await?;
            log.close().await
        })?;
    }
    let folder = dir.join(crate::journal::FOLDER);
    let files = disk.files();
    Ok((1..=2)
        .filter_map(|n| files.iter().find(|(path, _)| *path == path_of(&folder, n)))
        .map(|f| f.1.clone())
        .collect())
}

/// The bodies of a file's frames.
fn bodies(content: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = &content[FRAME_HEADER_BYTES..];
    while let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let Ok(header) = FrameHeader::decode(header, LOG_ID) else { break };
        let (body, next) = behind.split_at(usize::try_from(header.body_bytes).expect("a short body"));
        found.push(body);
        rest = next;
    }
    found
}
