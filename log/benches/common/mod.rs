//! What the benchmarks share: rows like those of the sensor workload, the machine's description, quantiles, and the CPU
//! time and memory that Linux counts.

#![allow(dead_code)] // each program uses a part of it

pub mod disk;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use tempfile::TempDir;
use thermocline_log::{Commit, Stream};

/// Prints what the figures that follow belong to.
pub fn heading(name: &str) {
    let first = |path: &str, key: &str| -> String {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
    };
    let date = Command::new("date").args(["-u", "-Iseconds"]).output().unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    println!(
        "{name}, thermocline-log {}, {}; {cores} cores ({}), memory {}, Linux {}",
        env!("CARGO_PKG_VERSION"),
        String::from_utf8_lossy(&date.stdout).trim(),
        first("/proc/cpuinfo", "model name"),
        first("/proc/meminfo", "MemTotal"),
        first("/proc/sys/kernel/osrelease", ""),
    );
}

/// A folder on the disk to measure: below the first argument, or below the temporary folder.
pub fn folder() -> TempDir {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let parent: PathBuf = argument.map_or_else(std::env::temp_dir, Into::into);
    tempfile::tempdir_in(parent).unwrap()
}

/// Splitmix64: repeatable and cheap.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, variance 1, by twelve uniform numbers.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Sensor readings, every row another one: a thousand devices in random order, out of order by up to 2 s, values that
/// wander and are rounded as sensors send them, five states. Six columns, about 60 bytes a row in memory.
pub struct Readings {
    random: Random,
    level: Vec<f64>,
    row: i64,
}

impl Readings {
    /// The first rows.
    pub fn new() -> Self {
        let mut random = Random(20_261_122);
        let level = (0..1000).map(|_| 40.0 + 40.0 * random.unit()).collect();
        Self { random, level, row: 0 }
    }

    /// The next rows, under `schema` when the stream has one already.
    pub fn batch(&mut self, rows: usize, schema: Option<&SchemaRef>) -> RecordBatch {
        let random = &mut self.random;
        let round = |value: f64, places: i32| (value * 10_f64.powi(places)).round() / 10_f64.powi(places);
        let (mut device, mut ts, mut status) = (vec![], vec![], vec![]);
        let (mut temperature, mut pressure, mut vibration) = (vec![], vec![], vec![]);
        for _ in 0..rows {
            let number = usize::try_from(random.next() % 1000).unwrap();
            self.level[number] += 0.05 * random.normal();
            self.row += 1;
            let delay_ms = i64::try_from(random.next() % 2000).unwrap();
            device.push(format!("dev-{:04}", number + 1));
            ts.push((1_700_000_000_000 + self.row / 10 - delay_ms) * 1000);
            temperature.push(round(self.level[number] + 0.3 * random.normal(), 3));
            pressure.push(round(1013.25 + 5.0 * random.normal(), 3));
            vibration.push(round(random.normal().abs(), 4));
            status.push(match random.next() % 100 {
                0..80 => "ok",
                80..90 => "idle",
                90..96 => "warn",
                96..99 => "error",
                _ => "maint",
            });
        }
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("device_id", Arc::new(StringArray::from(device))),
            ("ts", Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))),
            ("temperature", Arc::new(Float64Array::from(temperature))),
            ("pressure", Arc::new(Float64Array::from(pressure))),
            ("vibration", Arc::new(Float64Array::from(vibration))),
            ("status", Arc::new(StringArray::from(status))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        match schema {
            // Rows keep one schema in memory, as a gateway's do.
            Some(schema) => RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec()).unwrap(),
            None => batch,
        }
    }

    /// The schema of the rows.
    pub fn schema() -> SchemaRef {
        Self::new().batch(1, None).schema()
    }
}

/// A commit of rows.
pub fn append(stream: &Stream, rows: RecordBatch) -> Commit {
    let mut commit = Commit::new();
    commit.append(stream.id(), rows);
    commit
}

/// Prints how many a second and how long each took.
pub fn print_quantiles(name: &str, mut micros: Vec<f64>, seconds: f64) -> f64 {
    micros.sort_by(f64::total_cmp);
    let at = |q: f64| micros[((micros.len() - 1) as f64 * q) as usize];
    println!(
        "{name:<44} {:>10.0}/s   p50 {:>8.0} µs   p99 {:>8.0} µs   p999 {:>8.0} µs",
        micros.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        at(0.999)
    );
    at(0.5)
}

/// The middle figure.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// CPU seconds of this thread.
pub fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<u64>().unwrap() as f64 / 1e9
}

/// CPU seconds of this process's threads whose name starts so.
pub fn thread_cpu_seconds(name: &str) -> f64 {
    let mut ns = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let read = |file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").starts_with(name) {
            ns += read("schedstat").split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    ns as f64 / 1e9
}

/// Memory of this process that is in use now, in MiB.
pub fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
