//! NDJSON → Arrow columns on one core: the gateway's decoder beside the fastest Rust readers, on the same bytes.
//!
//! `cargo run --release --manifest-path benchmarks/json/Cargo.toml -- FILE [ROWS [READER]]` reads the first rows (1,000,000) of
//! the workload (`benchmarks/workload.py`) in parts of 2 MiB, as the gateway does. The readers take turns; the figures are
//! medians of nine rounds, in CPU time of the thread and in wall time.

mod columns;
mod readers;

use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 9;
const PART_BYTES: usize = 2 << 20;

type Reader = fn(&[u8]) -> usize;

const READERS: [(&str, Reader); 8] = [
    ("thermocline", readers::thermocline),
    ("arrow-json", readers::arrow_json),
    ("serde_json, struct", readers::serde_json_typed),
    ("sonic-rs, struct", readers::sonic_typed),
    ("sonic-rs, lazy values", readers::sonic_lazy),
    ("simd-json, struct", readers::simd_typed),
    ("simd-json, tape", readers::simd_tape),
    ("counting lines", |part| part.iter().filter(|byte| **byte == b'\n').count()),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("usage: json-peers FILE [ROWS]");
    let rows = arguments.next().map_or(1_000_000, |rows| rows.parse().expect("ROWS is a number"));
    let only = arguments.next();
    let readers: Vec<(&str, Reader)> =
        READERS.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect();
    let body = first_lines(&file, rows);
    let parts = cut_at_lines(&body);
    let mut cpu = vec![Vec::new(); readers.len()];
    let mut wall = cpu.clone();
    for _ in 0..ROUNDS {
        for (i, (name, read)) in readers.iter().enumerate() {
            let (started, cpu_before) = (Instant::now(), thread_cpu_ns());
            let read: usize = parts.iter().map(|part| black_box(read(part))).sum();
            cpu[i].push((thread_cpu_ns() - cpu_before) as f64);
            wall[i].push(started.elapsed().as_nanos() as f64);
            assert_eq!(read, rows, "{name}");
        }
    }
    println!("{rows} rows, {} bytes; one thread, medians of {ROUNDS} rounds", body.len());
    println!("{:<24} {:>12} {:>14} {:>14} {:>8}", "reader", "CPU ns/row", "CPU M rows/s", "wall M rows/s", "MB/s");
    for (i, (name, _)) in readers.iter().enumerate() {
        let (cpu, wall) = (median(&mut cpu[i]), median(&mut wall[i]));
        let millions = |ns: f64| rows as f64 / ns * 1e3;
        let (per_row, mb) = (cpu / rows as f64, body.len() as f64 / cpu * 1e3);
        println!("{name:<24} {per_row:>12.1} {:>14.2} {:>14.2} {mb:>8.0}", millions(cpu), millions(wall));
    }
}

fn first_lines(file: &str, rows: usize) -> Vec<u8> {
    use std::io::{BufRead, BufReader};
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(file).expect("the file can be opened"));
    let mut body = Vec::new();
    for row in 0..rows {
        let read = reader.read_until(b'\n', &mut body).expect("the file can be read");
        assert!(read > 0, "{file} has only {row} rows");
    }
    body
}

fn cut_at_lines(mut body: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !body.is_empty() {
        let at_least = PART_BYTES.min(body.len()) - 1;
        let line = body[at_least..].iter().position(|byte| *byte == b'\n');
        let (part, rest) = body.split_at(line.map_or(body.len(), |length| at_least + length + 1));
        parts.push(part);
        body = rest;
    }
    parts
}

/// CPU time of this thread, as Linux counts it.
fn thread_cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with scheduler statistics");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("the first field is nanoseconds")
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
