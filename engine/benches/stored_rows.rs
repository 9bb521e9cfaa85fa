//! Continuous queries over rows that are stored, beside DataFusion's batch execution of the same queries over the same rows in
//! Parquet: watermarks, lateness, panes, snapshots and the durable result against none of it.
//!
//! `cargo bench -p thermocline-engine --bench stored_rows -- FOLDER/sensors.parquet [--runs N] [--only Q1,Q4] [--dir DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::TryStreamExt;
use thermocline_engine::{Engine, EngineSettings, MonotonicClock};
use thermocline_log::{Commit, Log, LogOptions, StreamSpec};
use thermocline_sql::{Pipeline, SourceFile};

const STREAM: &str = "CREATE STREAM sensors (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, pressure DOUBLE, vibration DOUBLE, status TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2);";

/// Rows that are appended at once.
const APPEND_ROWS: usize = 65_536;

struct Query {
    name: &'static str,
    /// Columns of the result, and the query.
    continuous: (&'static str, &'static str),
    /// The same in batch over the table `rows`, whose `ts` is in milliseconds; empty where there is none.
    batch: &'static str,
    /// Rows of the result over the ten million rows of the workload.
    expected: Option<u64>,
}

const QUERIES: &[Query] = &[
    Query {
        name: "Q1",
        continuous: (
            "w TIMESTAMP, device_id TEXT, n BIGINT, mean DOUBLE, low DOUBLE, high DOUBLE",
            "SELECT window_start, device_id, count(*), avg(temperature), min(temperature), max(temperature)
             FROM TUMBLE(sensors, ts, INTERVAL '10 seconds') GROUP BY device_id, window_start, window_end",
        ),
        batch: "SELECT device_id, ts / 10000 AS w, count(*), avg(temperature), min(temperature), max(temperature)
                FROM rows GROUP BY 1, 2",
        expected: Some(100_000),
    },
    Query {
        name: "Q2",
        continuous: (
            "w TIMESTAMP, device_id TEXT, mean DOUBLE, spread DOUBLE, high DOUBLE",
            "SELECT window_end, device_id, avg(temperature), stddev(temperature), max(temperature)
             FROM HOP(sensors, ts, INTERVAL '10 seconds', INTERVAL '60 seconds') GROUP BY device_id, window_start, window_end
             HAVING max(temperature) > avg(temperature) + 3 * stddev(temperature)",
        ),
        batch: "WITH panes AS (
                    SELECT device_id, ts / 10000 AS pane, count(temperature) AS n, sum(temperature) AS s,
                           sum(temperature * temperature) AS ss, max(temperature) AS high FROM rows GROUP BY 1, 2),
                windows AS (
                    SELECT device_id, pane + hop AS w, sum(n) AS n, sum(s) AS s, sum(ss) AS ss, max(high) AS high
                    FROM panes CROSS JOIN (VALUES (0), (1), (2), (3), (4), (5)) AS h(hop) GROUP BY 1, 2)
                SELECT * FROM windows WHERE high > s / n + 3 * sqrt(abs((ss - s * s / n) / (n - 1)))",
        expected: Some(45_200),
    },
    Query {
        name: "Q3",
        continuous: (
            "device_id TEXT, ts TIMESTAMP, temperature DOUBLE",
            "SELECT device_id, ts, temperature FROM sensors WHERE temperature > 85",
        ),
        batch: "SELECT device_id, ts, temperature FROM rows WHERE temperature > 85",
        expected: Some(57_067),
    },
    Query {
        name: "Q4",
        continuous: (
            "device_id TEXT, status TEXT, s TIMESTAMP, n BIGINT",
            "SELECT device_id, status, window_start, count(*)
             FROM SESSION(sensors, ts, INTERVAL '5 seconds') GROUP BY device_id, status, window_start, window_end",
        ),
        batch: "WITH marked AS (
                    SELECT device_id, status, ts,
                           CASE WHEN ts - lag(ts) OVER (PARTITION BY device_id, status ORDER BY ts) < 5000 THEN 0 ELSE 1 END AS begins
                    FROM rows),
                numbered AS (
                    SELECT device_id, status, sum(begins) OVER (PARTITION BY device_id, status ORDER BY ts) AS session FROM marked)
                SELECT device_id, status, session, count(*) FROM numbered GROUP BY 1, 2, 3",
        expected: Some(167_970),
    },
    Query {
        name: "hop 60 s / 1 s",
        continuous: (
            "w TIMESTAMP, device_id TEXT, n BIGINT, mean DOUBLE, low DOUBLE, high DOUBLE",
            "SELECT window_start, device_id, count(*), avg(temperature), min(temperature), max(temperature)
             FROM HOP(sensors, ts, INTERVAL '1 second', INTERVAL '60 seconds') GROUP BY device_id, window_start, window_end
             HAVING max(temperature) > 110",
        ),
        batch: "",
        expected: None,
    },
    Query {
        name: "tumble 60 s",
        continuous: (
            "w TIMESTAMP, device_id TEXT, n BIGINT, mean DOUBLE, low DOUBLE, high DOUBLE",
            "SELECT window_start, device_id, count(*), avg(temperature), min(temperature), max(temperature)
             FROM TUMBLE(sensors, ts, INTERVAL '60 seconds') GROUP BY device_id, window_start, window_end
             HAVING max(temperature) > 110",
        ),
        batch: "",
        expected: None,
    },
];

struct Arguments {
    parquet: PathBuf,
    runs: usize,
    only: Option<Vec<String>>,
    dir: PathBuf,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { parquet: PathBuf::new(), runs: 5, only: None, dir: std::env::temp_dir() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--runs" => read.runs = arguments.next().unwrap().parse().unwrap(),
                "--only" => read.only = Some(arguments.next().unwrap().split(',').map(str::to_owned).collect()),
                "--dir" => read.dir = arguments.next().unwrap().into(),
                path => read.parquet = path.into(),
            }
        }
        read
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| name.starts_with(wanted)))
    }
}

fn main() {
    let arguments = Arguments::read();
    if arguments.parquet.as_os_str().is_empty() {
        println!("stored_rows: no Parquet file given, nothing measured");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments));
}

async fn run(arguments: &Arguments) {
    let folder = tempfile::tempdir_in(&arguments.dir).unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let rows = load(&log, &arguments.parquet).await;
    println!("{rows} rows stored; seconds, medians of {} runs (least)", arguments.runs);
    println!("{:<16} {:>16} {:>10} {:>18} {:>6}", "query", "thermocline", "CPU", "DataFusion batch", "ratio");
    for query in QUERIES.iter().filter(|query| arguments.wants(query.name)) {
        let (mut own, mut cpu, mut batch) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..arguments.runs {
            let before = cpu_seconds();
            let (seconds, found) = continuous(&log, query, 1, &format!("run{run}")).await;
            own.push(seconds);
            cpu.push(cpu_seconds() - before);
            if let Some(expected) = query.expected.filter(|_| rows == 10_000_000) {
                assert_eq!(found, expected, "{}", query.name);
            }
            if !query.batch.is_empty() {
                let (seconds, batch_found) = in_batch(&arguments.parquet, query.batch).await;
                batch.push(seconds);
                assert_eq!(batch_found, found, "{}", query.name);
            }
        }
        let ratio = if batch.is_empty() { f64::NAN } else { median(&batch) / median(&own) };
        println!("{:<16} {:>16} {:>10.2} {:>18} {:>6.2}", query.name, shown(&own), median(&cpu), shown(&batch), ratio);
    }
    if arguments.wants("100") {
        let (one, _) = continuous(&log, &QUERIES[0], 1, "alone").await;
        let (hundred, _) = continuous(&log, &QUERIES[0], 100, "many").await;
        println!("100 queries like Q1: {hundred:.2} s, one {one:.2} s: {:.1} times", hundred / one);
    }
    log.close().await.unwrap();
}

/// Stores the file's rows in the stream, and seals them.
async fn load(log: &Log, parquet: &Path) -> u64 {
    let pipeline = checked(STREAM);
    let definition = &pipeline.streams["sensors"];
    let spec = StreamSpec {
        partitions: definition.partitions,
        partition_key: definition.partition_by.clone(),
        ..StreamSpec::new("sensors", Arc::clone(&definition.schema))
    };
    let stream = log.create_stream(spec).await.unwrap();
    let mut stored = 0;
    let mut batches = batches(parquet, "SELECT * FROM rows", 1).await;
    while let Some(batch) = batches.try_next().await.unwrap() {
        stored += batch.num_rows() as u64;
        loop {
            let mut commit = Commit::new();
            commit.append(stream.id(), reading(&batch, stream.schema()));
            match log.commit(commit).await {
                Ok(_) => break,
                Err(error) if error.is_retryable() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
    log.seal().await.unwrap();
    stored
}

fn reading(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let times = batch.column(1).as_primitive::<Int64Type>().values().iter().map(|ms| ms * 1000);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
    let columns = batch.columns().iter().enumerate().map(|(n, column)| match n {
        1 => Arc::clone(&times),
        _ => arrow::compute::cast(column, schema.field(n).data_type()).unwrap(),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

/// Runs `copies` of the query from the first stored row to the last, results stored durably: seconds, and rows of one.
async fn continuous(log: &Log, query: &Query, copies: usize, run: &str) -> (f64, u64) {
    let (columns, select) = query.continuous;
    let name = |n: usize| {
        let name: String =
            query.name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        format!("result_{name}_{run}_{n}")
    };
    let targets = (0..copies).map(|n| format!("CREATE STREAM {0} ({columns}); INSERT INTO {0} {select};\n", name(n)));
    let pipeline = checked(&format!("{STREAM}\n{}", targets.collect::<String>()));
    let settings = EngineSettings {
        log: log.clone(),
        pipeline,
        clock: Arc::new(MonotonicClock::default()),
        deployment: "bench".into(),
        checkpoint_rows: None,
        memory_limit_bytes: None,
    };
    let before = Instant::now();
    let mut engine = Engine::start(settings).await.unwrap();
    engine.finish().await.unwrap();
    let seconds = before.elapsed().as_secs_f64();
    let result = log.stream(&name(0)).unwrap();
    let rows = (0..result.partitions()).map(|n| log.range(result.id(), n).unwrap().end).sum();
    (seconds, rows)
}

async fn in_batch(parquet: &Path, sql: &str) -> (f64, u64) {
    let before = Instant::now();
    let mut batches = batches(parquet, sql, 2).await;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.unwrap() {
        rows += batch.num_rows() as u64;
    }
    (before.elapsed().as_secs_f64(), rows)
}

async fn batches(parquet: &Path, sql: &str, partitions: usize) -> datafusion::physical_plan::SendableRecordBatchStream {
    let batch_rows = if partitions == 1 { APPEND_ROWS } else { 8_192 };
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_rows);
    let context = SessionContext::new_with_config(config);
    context.register_parquet("rows", parquet.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    context.sql(sql).await.unwrap().execute_stream().await.unwrap()
}

fn checked(sql: &str) -> Pipeline {
    let files = [SourceFile { path: "bench.sql".into(), text: sql.to_owned() }];
    let checked = thermocline_sql::check(&files, &|_| None);
    let found: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
    checked.pipeline.unwrap_or_else(|| panic!("{}", found.join("\n")))
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn shown(values: &[f64]) -> String {
    if values.is_empty() {
        return "-".into();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{:.2} ({least:.2})", median(values))
}
