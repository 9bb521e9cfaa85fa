//! Which format should segments have? Parquet (zstd 1, as the log writes it, and variants) against Arrow IPC files
//! with LZ4 and zstd, on sensor readings: cost of sealing, size, and scan rates, each in memory on one core.
//!
//! `cargo bench -p thermocline-log --bench segment_format [-- ROWS]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

const BATCH_ROWS: usize = 8192;
const RUNS: usize = 5;

/// Splitmix64: repeatable and cheap.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Readings of 1,000 devices in arrival order, values rounded as sensors send them.
fn readings(rows: usize) -> Vec<RecordBatch> {
    let mut random = Random(42);
    let mut level: Vec<f64> = (0..1000).map(|_| 20.0 + 40.0 * random.unit()).collect();
    let round = |value: f64, places: i32| (value * 10_f64.powi(places)).round() / 10_f64.powi(places);
    let mut at_us = 1_700_000_000_000_000_i64;
    (0..rows)
        .step_by(BATCH_ROWS)
        .map(|from| {
            let (mut device, mut ts, mut temperature, mut pressure, mut vibration, mut status) =
                (vec![], vec![], vec![], vec![], vec![], vec![]);
            for _ in from..rows.min(from + BATCH_ROWS) {
                let d = usize::try_from(random.next() % 1000).unwrap();
                level[d] += random.unit() - 0.5;
                at_us += 100;
                device.push(format!("device-{d:04}"));
                ts.push((at_us - i64::try_from(random.next() % 2_000_000).unwrap()) / 1000 * 1000);
                temperature.push(round(level[d], 2));
                pressure.push(round(1000.0 + 30.0 * random.unit(), 1));
                vibration.push((!random.next().is_multiple_of(20)).then(|| round(random.unit(), 4)));
                status.push(if random.next().is_multiple_of(50) { "warning" } else { "ok" });
            }
            RecordBatch::try_from_iter(vec![
                ("device_id", Arc::new(StringArray::from(device)) as ArrayRef),
                ("ts", Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))),
                ("temperature", Arc::new(Float64Array::from(temperature))),
                ("pressure", Arc::new(Float64Array::from(pressure))),
                ("vibration", Arc::new(Float64Array::from(vibration))),
                ("status", Arc::new(StringArray::from(status))),
            ])
            .unwrap()
        })
        .collect()
}

fn parquet_properties(compression: Compression, dictionary_for_all: bool, delta_times: bool) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(128 << 10))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(dictionary_for_all);
    for text in ["device_id", "status"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(text), true);
    }
    if delta_times {
        let ts = ColumnPath::from("ts");
        properties = properties
            .set_column_dictionary_enabled(ts.clone(), false)
            .set_column_encoding(ts, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

fn to_parquet(batches: &[RecordBatch], properties: &WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties.clone())).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
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

/// Median seconds of several runs.
fn median<T>(mut run: impl FnMut() -> T) -> f64 {
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(run());
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[RUNS / 2]
}

type Scan = fn(&Bytes, Option<&[usize]>) -> usize;

fn report(name: &str, rows: usize, seal: impl Fn() -> Vec<u8>, scan: Scan) {
    let file = Bytes::from(seal());
    assert_eq!(scan(&file, None), rows);
    let sealed = median(seal);
    let all = median(|| scan(&file, None));
    let two = median(|| scan(&file, Some(&[0, 2])));
    let rows = rows as f64;
    println!(
        "{name:<28} {:>7.0} ns/row {:>7.2} B/row {:>8.1} M rows/s {:>8.1} M rows/s",
        sealed / rows * 1e9,
        file.len() as f64 / rows,
        rows / all / 1e6,
        rows / two / 1e6
    );
}

fn main() {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let batches = readings(rows);
    let zstd = |level| Compression::ZSTD(ZstdLevel::try_new(level).unwrap());
    println!("{rows} rows, median of {RUNS}");
    println!("{:<28} {:>14} {:>13} {:>17} {:>17}", "format", "seal", "size", "scan all", "scan 2 of 6");
    for (name, compression, all, delta) in [
        ("parquet zstd 1, dict for text", zstd(1), false, false),
        ("parquet zstd 1 (the log's)", zstd(1), true, false),
        ("parquet zstd 1, delta times", zstd(1), false, true),
        ("parquet zstd 3", zstd(3), false, false),
        ("parquet lz4", Compression::LZ4_RAW, false, false),
        ("parquet snappy", Compression::SNAPPY, false, false),
        ("parquet plain", Compression::UNCOMPRESSED, false, false),
    ] {
        let properties = parquet_properties(compression, all, delta);
        report(name, rows, || to_parquet(&batches, &properties), scan_parquet);
    }
    for (name, compression) in [
        ("arrow ipc lz4", Some(CompressionType::LZ4_FRAME)),
        ("arrow ipc zstd", Some(CompressionType::ZSTD)),
        ("arrow ipc plain", None),
    ] {
        report(name, rows, || to_ipc(&batches, compression), scan_ipc);
    }
}
