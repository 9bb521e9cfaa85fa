//! NDJSON → Arrow on one core: this crate's decoder beside arrow-json's reader, on the same bytes.
//!
//! `cargo bench -p thermocline-gateway --bench decode_ndjson [ROWS]`; prints the median of five runs each, alternating.

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thermocline_gateway::{EventTime, Format, RowShape, TimestampUnit, decode};

const RUNS: usize = 5;
const PART_BYTES: usize = 4 << 20;
const NOW_US: i64 = 1_800_000_000_000_000;

fn main() {
    let rows = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(2_000_000);
    let (epoch, text) = (readings(rows, |ms| ms.to_string()), readings(rows, rfc3339));
    println!(
        "{rows} rows, {:.0} bytes a row; million rows a second on one core, median of {RUNS}",
        epoch.len() as f64 / rows as f64
    );
    println!("thermocline, ts as number   {:6.2}", median(rows, || thermocline(&epoch)));
    println!("arrow-json,  ts as integer  {:6.2}", median(rows, || arrow_json(&epoch, &schema(DataType::Int64))));
    println!("thermocline, ts as RFC 3339 {:6.2}", median(rows, || thermocline(&text)));
    println!("arrow-json,  ts as RFC 3339 {:6.2}", median(rows, || arrow_json(&text, &schema(timestamp()))));
    println!("counting lines              {:6.2}", median(rows, || memchr::memchr_iter(b'\n', &epoch).count()));
}

/// Rows a second, in millions.
fn median(rows: usize, mut run: impl FnMut() -> usize) -> f64 {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(black_box(run()), rows);
            start.elapsed()
        })
        .collect();
    times.sort();
    rows as f64 / times[RUNS / 2].as_secs_f64() / 1e6
}

fn thermocline(body: &[u8]) -> usize {
    let event_time = EventTime { column: 1, max_skew_us: Some(60_000_000) };
    let shape = Arc::new(RowShape::new("readings", schema(timestamp()), Some(event_time), TimestampUnit::Millisecond));
    let mut accepted = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let at_least = PART_BYTES.min(rest.len()) - 1;
        let end = memchr::memchr(b'\n', &rest[at_least..]).map_or(rest.len(), |length| at_least + length + 1);
        let decoded =
            decode(Format::Ndjson, &shape, &rest[..end], u64::MAX, NOW_US).expect("NDJSON is read row by row");
        accepted += decoded.accepted();
        rest = &rest[end..];
    }
    usize::try_from(accepted).expect("rows were counted as usize")
}

fn arrow_json(body: &[u8], schema: &SchemaRef) -> usize {
    let builder = arrow::json::ReaderBuilder::new(Arc::clone(schema)).with_batch_size(32 << 10);
    let reader = builder.build(Cursor::new(body)).expect("the schema is supported");
    reader.map(|batch| batch.expect("the rows are good").num_rows()).sum()
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(ts: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", ts, false),
        Field::new("temperature", DataType::Float64, true),
        Field::new("pressure", DataType::Float64, true),
        Field::new("vibration", DataType::Float64, true),
        Field::new("status", DataType::Utf8, true),
    ]))
}

/// Rows like those of the workload: a thousand devices, three noisy numbers, one of five states.
fn readings(rows: usize, ts: impl Fn(i64) -> String) -> Vec<u8> {
    use std::io::Write;
    let mut body = Vec::with_capacity(rows * 130);
    let mut state = 20_261_122_u64;
    let mut random = move |below: u64| {
        // Knuth's MMIX generator; the high bits are good enough for noise.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for row in 0..rows {
        let (device, status) = (random(1000) + 1, ["ok", "ok", "idle", "warn", "error"][random(5) as usize]);
        let ts = ts(1_700_000_000_000 + row as i64 / 10);
        let temperature = 40_000 + random(40_000);
        let pressure = 1_000_000 + random(26_000);
        let vibration = random(30_000);
        writeln!(
            body,
            r#"{{"device_id":"dev-{device:04}","ts":{ts},"temperature":{}.{:03},"pressure":{}.{:03},"vibration":{}.{:04},"status":"{status}"}}"#,
            temperature / 1000,
            temperature % 1000,
            pressure / 1000,
            pressure % 1000,
            vibration / 10_000,
            vibration % 10_000,
        )
        .expect("writing to memory does not fail");
    }
    body
}

fn rfc3339(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).expect("the time is in range");
    format!("\"{}\"", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
