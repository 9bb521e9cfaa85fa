//! Which format should segments have? What the log writes beside other choices of Parquet and Arrow IPC, on the sensor
//! workload's readings: CPU of sealing, size, and scan rates, in memory on one core, the candidates taking turns.
//!
//! `cargo bench -p thermocline-log --bench segment_format [-- ROWS] [-- columns|exact|own]`; with `columns`,
//! each column alone; with `exact`, doubles in full precision, not rounded as sensors send them; with `own`, nothing but
//! what the log writes, for a profiler.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

#[allow(dead_code, unused_imports, reason = "its tests are run where it belongs")]
#[path = "../src/segment/column/mod.rs"]
mod column;
mod common;
#[path = "../src/segment/encoding.rs"]
mod encoding;
#[path = "../src/segment/row_groups.rs"]
mod row_groups;

use std::io::Cursor;
use std::iter;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::common::{Random, Readings, heading, median, own_cpu_seconds};
use crate::row_groups::RowGroups;

/// Rows of a batch as the sealer gets them from commits of a thousand, and of a batch that is read.
const BATCH_ROWS: usize = 8192;
const RUNS: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Doubles {
    Dictionary,
    Split,
    Plain,
}

#[derive(Clone, Copy)]
struct Choice {
    compression: Compression,
    doubles: Doubles,
    delta_times: bool,
    group_rows: usize,
    statistics: EnabledStatistics,
}

impl Choice {
    fn properties(self, batch: &RecordBatch) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_statistics_enabled(self.statistics)
            .set_dictionary_enabled(true);
        for field in batch.schema().fields() {
            let column = ColumnPath::from(field.name().as_str());
            match field.data_type() {
                DataType::Float64 if self.doubles != Doubles::Dictionary => {
                    properties = properties.set_column_dictionary_enabled(column.clone(), false);
                    if self.doubles == Doubles::Split {
                        properties = properties.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
                    }
                }
                DataType::Timestamp(..) if self.delta_times => {
                    properties = properties
                        .set_column_dictionary_enabled(column.clone(), false)
                        .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
                }
                _ => {}
            }
        }
        properties.build()
    }
}

fn to_parquet(batches: &[RecordBatch], properties: &WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties.clone())).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

/// As the log does it.
fn to_segment(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = RowGroups::new(Vec::new(), batches[0].schema());
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap()
}

fn scan_parquet(file: &Bytes, columns: Option<&[usize]>) -> usize {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let mask = columns.map_or(ProjectionMask::all(), |columns| {
        ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied())
    });
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().unwrap();
    reader.map(|batch| batch.unwrap().num_rows()).sum()
}

fn to_ipc(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn scan_ipc(file: &Bytes, columns: Option<&[usize]>) -> usize {
    let reader = FileReader::try_new(Cursor::new(file), columns.map(<[usize]>::to_vec)).unwrap();
    reader.map(|batch| batch.unwrap().num_rows()).sum()
}

fn cpu<T>(run: impl FnOnce() -> T) -> (f64, T) {
    // Yielding brings what Linux has counted up to date; else it moves in steps of milliseconds.
    let thread_time = || {
        std::thread::yield_now();
        own_cpu_seconds()
    };
    let before = thread_time();
    let done = run();
    (thread_time() - before, done)
}

type Seal = Box<dyn Fn() -> Vec<u8>>;
type Scan = fn(&Bytes, Option<&[usize]>) -> usize;

/// All candidates, one after the other, several times over.
fn report(rows: usize, candidates: &[(String, Seal, Scan)], two: &[usize]) {
    let mut figures = vec![[const { Vec::new() }; 3]; candidates.len()];
    let mut sizes = vec![0; candidates.len()];
    for _ in 0..RUNS {
        for (candidate, (_, seal, scan)) in candidates.iter().enumerate() {
            let (sealed, file) = cpu(seal);
            let file = Bytes::from(file);
            let (all, found) = cpu(|| scan(&file, None));
            assert_eq!(found, rows);
            let (some, _) = cpu(|| scan(&file, Some(two)));
            sizes[candidate] = file.len();
            for (figures, seconds) in figures[candidate].iter_mut().zip([sealed, all, some]) {
                figures.push(seconds);
            }
        }
    }
    let rows = rows as f64;
    for (((name, ..), figures), size) in candidates.iter().zip(figures).zip(sizes) {
        let [sealed, all, some] = figures.map(median);
        println!(
            "{name:<44} {:>7.0} ns/row {:>7.2} B/row {:>8.1} M rows/s {:>8.1} M rows/s",
            sealed / rows * 1e9,
            size as f64 / rows,
            rows / all / 1e6,
            rows / some / 1e6
        );
    }
}

/// The readings with doubles of which hardly two are the same.
fn exact(batch: &RecordBatch, random: &mut Random) -> RecordBatch {
    let mut column = |column: &ArrayRef| -> ArrayRef {
        let Some(doubles) = column.as_primitive_opt::<Float64Type>() else { return Arc::clone(column) };
        Arc::new(Float64Array::from_iter_values(doubles.values().iter().map(|double| double + random.unit() / 1000.0)))
    };
    RecordBatch::try_new(batch.schema(), batch.columns().iter().map(&mut column).collect()).unwrap()
}

fn main() {
    heading("segment_format");
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let mut readings = Readings::new();
    let mut batches: Vec<RecordBatch> =
        (0..rows).step_by(BATCH_ROWS).map(|from| readings.batch(BATCH_ROWS.min(rows - from), None)).collect();
    if std::env::args().any(|argument| argument == "exact") {
        let mut random = Random(1);
        batches = batches.iter().map(|batch| exact(batch, &mut random)).collect();
    }
    let zstd = |level| Compression::ZSTD(ZstdLevel::try_new(level).unwrap());
    println!("{rows} rows, medians of {RUNS}");
    println!("{:<44} {:>14} {:>13} {:>17} {:>17}", "format", "seal", "size", "scan all", "scan 2 of 6");
    let old = Choice {
        compression: zstd(1),
        doubles: Doubles::Dictionary,
        delta_times: false,
        group_rows: 128 << 10,
        statistics: EnabledStatistics::Chunk,
    };
    let delta = Choice { delta_times: true, ..old };
    let large = Choice { group_rows: 512 << 10, ..old };
    let choices = [
        ("parquet zstd 1, dictionaries", old),
        ("parquet zstd 1, dictionaries, 512k groups", large),
        ("parquet zstd 1, dictionaries, delta times", delta),
        ("parquet zstd 1, doubles plain", Choice { doubles: Doubles::Plain, ..delta }),
        ("parquet zstd 1, doubles split", Choice { doubles: Doubles::Split, ..delta }),
        ("parquet zstd 1, no statistics", Choice { statistics: EnabledStatistics::None, ..delta }),
        ("parquet zstd 3, dictionaries", Choice { compression: zstd(3), ..old }),
        ("parquet lz4, dictionaries", Choice { compression: Compression::LZ4_RAW, ..delta }),
        ("parquet lz4, doubles split", Choice { compression: Compression::LZ4_RAW, doubles: Doubles::Split, ..delta }),
        ("parquet, not compressed", Choice { compression: Compression::UNCOMPRESSED, ..delta }),
    ];
    if std::env::args().any(|argument| argument == "columns") {
        for column in 0..batches[0].num_columns() {
            let batches: Vec<_> = batches.iter().map(|batch| batch.project(&[column]).unwrap()).collect();
            println!("{}", batches[0].schema().field(0).name());
            report(rows, &parquet_candidates(&choices, &batches), &[0]);
        }
        return;
    }
    if std::env::args().any(|argument| argument == "own") {
        report(rows, &parquet_candidates(&[], &batches), &[0, 2]);
        return;
    }
    let mut candidates = parquet_candidates(&choices, &batches);
    for (name, compression) in [
        ("arrow ipc lz4", Some(CompressionType::LZ4_FRAME)),
        ("arrow ipc zstd", Some(CompressionType::ZSTD)),
        ("arrow ipc plain", None),
    ] {
        let batches = batches.clone();
        candidates.push((name.to_owned(), Box::new(move || to_ipc(&batches, compression)), scan_ipc));
    }
    report(rows, &candidates, &[0, 2]);
}

fn parquet_candidates(choices: &[(&str, Choice)], batches: &[RecordBatch]) -> Vec<(String, Seal, Scan)> {
    let candidate = |(name, choice): &(&str, Choice)| -> (String, Seal, Scan) {
        let (properties, batches) = (choice.properties(&batches[0]), batches.to_vec());
        ((*name).to_owned(), Box::new(move || to_parquet(&batches, &properties)), scan_parquet)
    };
    let own = batches.to_vec();
    let own: (String, Seal, Scan) = ("the log's".to_owned(), Box::new(move || to_segment(&own)), scan_parquet);
    iter::once(own).chain(choices.iter().map(candidate)).collect()
}
