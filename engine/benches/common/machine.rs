//! The machine, and what Linux counts of this process.

use serde_json::{Value, json};

fn first(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
}

/// Description of the machine.
pub fn described() -> Value {
    let kib: f64 = first("/proc/meminfo", "MemTotal").split(' ').next().unwrap_or_default().parse().unwrap_or(f64::NAN);
    json!({
        "cpu": first("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gib": (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
        "kernel": first("/proc/sys/kernel/osrelease", ""),
    })
}

/// Prints what the figures that follow belong to.
pub fn heading(bench: &str) {
    let now = chrono::Utc::now().format("%Y-%m-%d %H:%M");
    println!("{bench}, thermocline {}, {now} UTC, {}", env!("CARGO_PKG_VERSION"), described());
}

/// CPU seconds of this process.
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// Bytes of this process that are in memory now and belong to no file.
pub fn anonymous_bytes() -> u64 {
    let kib = first("/proc/self/status", "RssAnon");
    kib.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
