//! What a row costs the threads of an HTTP server that it comes in through, in process: from the socket to the log, sync
//! included, without sealing's and the clients' threads.
//!
//! `cargo bench -p thermocline-gateway --bench http_ingest [-- FILE]`: NDJSON lines of the workload (`benchmarks/workload.py`)
//! from FILE. Prints CPU nanoseconds a row by thread, median of the runs. Linux only: it reads `/proc/self/task`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thermocline_gateway::http::{HttpOptions, HttpState, serve};
use thermocline_gateway::{StreamInput, StreamRegistry, TimestampUnit, rejected_schema, rejected_stream_name};
use thermocline_log::{Log, LogOptions, StreamSpec};
use tokio_util::sync::CancellationToken;

const ROWS: usize = 2_000_000;
const CONNECTIONS: usize = 8;
const RUNS: usize = 5;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let Some(path) = std::env::args().skip(1).find(|arg| !arg.starts_with('-')) else {
        println!("no input: give a file of the workload's NDJSON lines");
        return Ok(());
    };
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(150 * ROWS as u64).read_to_end(&mut text)?;
    for batch_rows in [10_000, 1_000] {
        let requests = requests(&text, batch_rows);
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(run(&requests)?);
        }
        println!("requests of {batch_rows} rows, CPU ns a row by thread, median of {RUNS}");
        for name in ["http", "log-journal", "log-sealer"] {
            let mut figures: Vec<f64> = runs.iter().map(|run| run.get(name).copied().unwrap_or(0.0)).collect();
            figures.sort_by(f64::total_cmp);
            println!("  {name:<12} {:6.1}  (from {:.1} to {:.1})", figures[RUNS / 2], figures[0], figures[RUNS - 1]);
        }
    }
    Ok(())
}

/// The bodies, `batch_rows` lines each.
fn requests(text: &[u8], batch_rows: usize) -> Vec<&[u8]> {
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', text).map(|at| at + 1).take(ROWS).collect();
    assert_eq!(ends.len(), ROWS, "the file has too few lines");
    let mut start = 0;
    ends.chunks(batch_rows)
        .map(|batch| {
            let end = *batch.last().expect("chunks are not empty");
            let body = &text[start..end];
            start = end;
            body
        })
        .collect()
}

/// Nanoseconds a row by thread.
fn run(requests: &[&[u8]]) -> Result<BTreeMap<String, f64>, Failure> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("http").enable_all().build()?;
    let log = Log::open(folder.path(), LogOptions::default())?;
    let stop = CancellationToken::new();
    let (address, serving) = runtime.block_on(async {
        let input = StreamInput {
            stream: log
                .create_stream(StreamSpec {
                    partitions: 2,
                    partition_key: vec!["device_id".to_owned()],
                    ..StreamSpec::new("sensors", schema())
                })
                .await?,
            rejected: log.create_stream(StreamSpec::new(rejected_stream_name("sensors"), rejected_schema())).await?,
            event_time_column: Some(1),
            max_skew_us: None,
            timestamp_unit: TimestampUnit::Millisecond,
            metadata: Vec::new(),
        };
        let streams = StreamRegistry::new();
        streams.register(input);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving =
            tokio::spawn(serve(listener, HttpState::new(log.clone(), streams, HttpOptions::default()), stop.clone()));
        Ok::<_, Failure>((address, serving))
    })?;
    let before = threads_ns()?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|client| scope.spawn(move || send(address, requests.iter().skip(client).step_by(CONNECTIONS))))
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("clients do not panic"))
    })?;
    let after = threads_ns()?;
    stop.cancel();
    runtime.block_on(async {
        serving.await?;
        log.close().await?;
        Ok::<_, Failure>(())
    })?;
    let used = |(name, ns): (String, u64)| {
        let ns = ns - before.get(&name).copied().unwrap_or(0);
        (
            name.replace("thermocline-jou", "log-journal").replace("thermocline-sea", "log-sealer"),
            ns as f64 / ROWS as f64,
        )
    };
    Ok(after.into_iter().map(used).collect())
}

/// One connection, one request at a time.
fn send<'a>(address: SocketAddr, bodies: impl Iterator<Item = &'a &'a [u8]>) -> Result<(), Failure> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    let mut answer = vec![0; 4096];
    for body in bodies {
        loop {
            let length = body.len();
            write!(connection, "POST /v1/streams/sensors HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")?;
            connection.write_all(body)?;
            // Answers are short and come in one piece.
            let length = connection.read(&mut answer)?;
            let answer = String::from_utf8_lossy(&answer[..length]);
            if answer.starts_with("HTTP/1.1 200") && answer.contains("\"rejected\":0,") {
                break;
            }
            if !answer.starts_with("HTTP/1.1 429") {
                return Err(answer.into());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    Ok(())
}

/// CPU time of this process by the name of its threads.
fn threads_ns() -> Result<BTreeMap<String, u64>, Failure> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = std::fs::read_to_string(task.join("comm"))?.trim().to_owned();
        let used: u64 = std::fs::read_to_string(task.join("schedstat"))?.split(' ').next().unwrap_or("0").parse()?;
        *threads.entry(name).or_default() += used;
    }
    Ok(threads)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("temperature", DataType::Float64, true),
        Field::new("pressure", DataType::Float64, true),
        Field::new("vibration", DataType::Float64, true),
        Field::new("status", DataType::Utf8, true),
    ]))
}
