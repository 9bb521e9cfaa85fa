//! Figures: medians, quantiles, and a file of them with machine, versions and date.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::Arguments;
use super::machine;

/// The middle figure.
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// How some waits are distributed.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles {
    count: usize,
    p50: f64,
    p99: f64,
    p999: f64,
    highest: f64,
}

impl Quantiles {
    /// Of waits in seconds.
    pub fn of(seconds: &[f64]) -> Self {
        let sorted = sorted(seconds);
        let at = |q| quantile(&sorted, q);
        Self { count: sorted.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), highest: at(1.0) }
    }

    /// Head of the lines that [`print`](Self::print) prints.
    pub fn heading() {
        println!("{:<52} {:>9} {:>9} {:>9} {:>9} {:>9}", "milliseconds", "p50", "p99", "p99.9", "highest", "samples");
    }

    /// One line.
    pub fn print(&self, name: &str) {
        let ms = |seconds: f64| seconds * 1e3;
        let Self { count, p50, p99, p999, highest } = *self;
        let (p50, p99, p999, highest) = (ms(p50), ms(p99), ms(p999), ms(highest));
        println!("{name:<52} {p50:>9.3} {p99:>9.3} {p999:>9.3} {highest:>9.3} {count:>9}");
    }

    /// In milliseconds.
    pub fn to_json(self) -> Value {
        let ms = |seconds: f64| (seconds * 1e6).round() / 1e3;
        json!({ "samples": self.count, "p50_ms": ms(self.p50), "p99_ms": ms(self.p99), "p999_ms": ms(self.p999),
            "highest_ms": ms(self.highest) })
    }
}

/// The median and the least.
pub fn shown(values: &[f64]) -> String {
    if values.is_empty() {
        return "-".into();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{:.2} ({least:.2})", median(values))
}

/// With `--keep`, writes the figures of `bench` to `benchmarks/results`.
pub fn keep(arguments: &Arguments, bench: &str, figures: &Value) {
    if !arguments.has("keep") {
        return;
    }
    let date = chrono::Utc::now().format("%Y-%m-%d");
    let report = json!({
        "bench": bench,
        "date": date.to_string(),
        "machine": machine::described(),
        "versions": { "thermocline": env!("CARGO_PKG_VERSION") },
        "figures": figures,
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benchmarks/results");
    let path = folder.join(format!("{date}-{bench}.json"));
    std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap() + "\n").unwrap();
    println!("kept in benchmarks/results/{date}-{bench}.json");
}
