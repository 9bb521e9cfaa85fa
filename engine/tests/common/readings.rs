//! Random streams of readings, the same kind for every oracle: keys and NULL keys, equal times, disorder within the delay, late rows,
//! rows that come twice, gaps, NULL, NaN, an infinity and negative zero, a device that goes offline and sends what it has
//! kept later, and, in some streams, a row from the far future as no door's `max_skew` would have kept it out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

use super::duckdb::float;

/// The columns of a stream of readings.
pub const COLUMNS: &str = "id BIGINT, key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, n BIGINT";

/// A row of a random stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its own in its stream, also where the rest came before.
    pub id: i64,
    pub key: Option<String>,
    pub time_us: i64,
    pub value: Option<f64>,
    pub count: Option<i64>,
}

/// What a stream is like.
#[derive(Debug, Clone, Copy)]
pub struct Likeness {
    pub start_us: i64,
    pub rows: i64,
    pub keys: u32,
    /// The watermark's.
    pub delay_us: i64,
    /// The longest ordinary step from row to row.
    pub pace_us: i64,
    /// What most times are a multiple of.
    pub grain_us: i64,
    pub infinity: f64,
}

impl Likeness {
    /// Times reach back before 1970.
    pub fn random(random: &mut StdRng, rows: std::ops::Range<i64>) -> Self {
        Self {
            start_us: -20_000_000,
            rows: random.random_range(rows),
            keys: random.random_range(1..6),
            delay_us: [0, 1, 500_000, 2_000_000][random.random_range(0..4)],
            pace_us: 400_000,
            grain_us: [1, 50_000][random.random_range(0..2)],
            infinity: [f64::INFINITY, f64::NEG_INFINITY][random.random_range(0..2)],
        }
    }

    fn reading(&self, random: &mut StdRng, id: i64, now_us: i64, ahead_us: i64) -> Reading {
        let behind_us = match random.random_range(0..20) {
            0 => random.random_range(0..20_000_000),
            1..5 => random.random_range(0..=self.delay_us),
            _ => 0,
        };
        let grain_us = if random.random_range(0..8) == 0 { 1 } else { self.grain_us };
        let value = match random.random_range(0..25) {
            0..3 => None,
            3 => Some(f64::NAN),
            4 => Some(self.infinity),
            5 => Some(-0.0),
            _ => Some(f64::from(random.random_range(-1000..1000)) / 8.0),
        };
        Reading {
            id,
            key: (random.random_range(0..10) > 0).then(|| format!("k{}", random.random_range(0..self.keys))),
            time_us: (now_us - behind_us).div_euclid(grain_us) * grain_us + ahead_us,
            value,
            count: (random.random_range(0..8) > 0).then(|| random.random_range(0..9)),
        }
    }

    /// The rows, in the order in which they come.
    pub fn readings(&self, random: &mut StdRng) -> Vec<Reading> {
        let mut now_us = self.start_us;
        let mut rows: Vec<Reading> = Vec::new();
        // What devices that are offline keep back.
        let mut offline: BTreeMap<Option<String>, Vec<Reading>> = BTreeMap::new();
        // Behind it nearly everything is late: not in every stream, and not early in it.
        let future = (random.random_range(0..3) == 0).then(|| random.random_range(self.rows * 3 / 4..=self.rows));
        for id in 0..self.rows {
            now_us += match random.random_range(0..40) {
                0 => random.random_range(0..15_000_000),
                1..14 => 0,
                14..28 => 100_000.min(self.pace_us),
                _ => random.random_range(0..self.pace_us),
            };
            let ahead_us = if future == Some(id) { [3_600_000_000, FAR_US][random.random_range(0..2)] } else { 0 };
            let row = match rows.last() {
                Some(last) if ahead_us == 0 && random.random_range(0..15) == 0 => Reading { id, ..last.clone() },
                _ => self.reading(random, id, now_us, ahead_us),
            };
            match offline.get_mut(&row.key) {
                Some(kept) => kept.push(row),
                None => rows.push(row),
            }
            match random.random_range(0..40) {
                0 => {
                    offline.entry(Some(format!("k{}", random.random_range(0..self.keys)))).or_default();
                }
                1 => rows.extend(offline.pop_last().into_iter().flat_map(|(_, kept)| kept)),
                2 => rows.extend(offline.pop_first().into_iter().flat_map(|(_, kept)| kept)),
                _ => {}
            }
        }
        rows.extend(offline.into_values().flatten());
        rows
    }
}

/// Nearly eight thousand years.
const FAR_US: i64 = 250_000_000_000_000_000;

/// `CREATE STREAM` of readings; `per` is empty or `PER key`.
pub fn create(name: &str, delay_us: i64, per: &str, partitions: u32) -> String {
    let idle = if per.is_empty() { ", idle_timeout = 'none'" } else { "" };
    format!(
        "CREATE STREAM {name} ({COLUMNS}, WATERMARK FOR ts AS ts - INTERVAL '{delay_us} microseconds' {per})
         PARTITION BY (key) WITH (partitions = {partitions}{idle});\n"
    )
}

/// As a batch of such a stream.
pub fn batch(rows: &[Reading]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time_us)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.id))),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.key.clone()))),
        Arc::new(times),
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.count))),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).unwrap()
}

/// The schema of [`COLUMNS`].
fn schema() -> Schema {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [DataType::Int64, DataType::Utf8, time, DataType::Float64, DataType::Int64];
    let columns = ["id", "key", "ts", "v", "n"].into_iter().zip(types);
    Schema::new(columns.map(|(name, of)| Field::new(name, of, name != "ts")).collect::<Vec<_>>())
}

fn of_batch(batch: &RecordBatch) -> Vec<Reading> {
    let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let (ids, keys, counts) = (numbers(0), batch.column(1).as_string::<i32>(), numbers(4));
    let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let values = batch.column(3).as_primitive::<Float64Type>();
    let reading = |row: usize| Reading {
        id: ids.value(row),
        key: keys.is_valid(row).then(|| keys.value(row).to_owned()),
        time_us: times.value(row),
        value: values.is_valid(row).then(|| values.value(row)),
        count: counts.is_valid(row).then(|| counts.value(row)),
    };
    (0..batch.num_rows()).map(reading).collect()
}

/// The rows of each partition, in their order.
pub fn stored(log: &Log, stream: &str) -> Vec<Vec<Reading>> {
    let stream = log.stream(stream).unwrap();
    let of_partition = |partition| {
        let mut reader = log.reader(stream.id(), partition, 0, None).unwrap();
        let mut rows = Vec::new();
        while let Some(found) = reader.next(10_000).unwrap() {
            rows.extend(of_batch(&found.batch));
        }
        rows
    };
    (0..stream.partitions()).map(of_partition).collect()
}

/// The rows that `takes` takes and that are not late, in event-time order, and how many are late: a row is when its time is before
/// the watermark that the rows before it in its own partition have made.
pub fn in_time(partitions: &[Vec<Reading>], delay_us: i64, takes: impl Fn(&Reading) -> bool) -> (Vec<&Reading>, usize) {
    let (mut rows, mut late) = (Vec::new(), 0);
    for partition in partitions {
        let mut watermark_us = i64::MIN;
        for row in partition {
            match row.time_us >= watermark_us {
                _ if !takes(row) => {}
                true => rows.push(row),
                false => late += 1,
            }
            watermark_us = watermark_us.max(row.time_us - delay_us);
        }
    }
    rows.sort_by_key(|row| row.time_us);
    (rows, late)
}

/// For DuckDB's `load`: the place in the given order, id, key, time, value, count.
pub fn table(rows: &[&Reading]) -> Vec<Value> {
    let numbered = rows.iter().enumerate();
    numbered.map(|(seq, r)| json!([seq, r.id, r.key, r.time_us, r.value.map(float), r.count])).collect()
}

/// What [`table`] gives, as DuckDB declares it.
pub const TABLE: &str = "seq BIGINT, id BIGINT, key TEXT, ts BIGINT, v DOUBLE, n BIGINT";

/// The rows in pieces of random sizes, by a seed: single rows, some, or many at once.
pub fn pieces(seed: u64, mut rows: &[Reading]) -> Vec<&[Reading]> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pieces = Vec::new();
    while !rows.is_empty() {
        let most = [1, 8, 60][random.random_range(0..3)].min(rows.len());
        let (piece, rest) = rows.split_at(random.random_range(1..=most));
        pieces.push(piece);
        rows = rest;
    }
    pieces
}
