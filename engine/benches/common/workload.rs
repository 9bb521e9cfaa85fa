//! The sensor workload: its stream, its rows out of Parquet, and its queries, continuous and in batch.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::TryStreamExt;
use thermocline_log::{Log, Stream};

use super::engine::{append, checked, create_stream, rows_of, start};

/// The stream of the readings.
pub const STREAM: &str = "CREATE STREAM sensors (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, pressure DOUBLE, vibration DOUBLE, status TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2);";

/// Rows that are appended at once.
const APPEND_ROWS: usize = 65_536;

/// Rows of the whole workload.
pub const ALL_ROWS: u64 = 10_000_000;

/// A query over the readings.
pub struct Query {
    pub name: &'static str,
    /// Columns of the result, and the query.
    pub continuous: (&'static str, &'static str),
    /// The same in batch over the table `rows`, whose `ts` is in milliseconds; empty where there is none.
    pub batch: &'static str,
    /// Rows of the result over the ten million rows of the workload.
    pub expected: Option<u64>,
}

/// Q1 to Q4, and a hop of many panes beside a tumble.
pub const QUERIES: &[Query] = &[
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

/// The stream of the readings, without any yet.
pub async fn stream(log: &Log) -> Stream {
    create_stream(log, &checked(STREAM), "sensors").await
}

/// Appends rows `from..until` of the file, their times shifted, and seals them. Returns how many there were.
pub async fn load(log: &Log, stream: &Stream, parquet: &Path, from: u64, until: u64, shift_ms: i64) -> u64 {
    let rows = format!("SELECT * FROM rows OFFSET {from} LIMIT {}", until - from);
    let mut batches = batches(parquet, &rows, 1).await;
    let mut stored = 0;
    while let Some(batch) = batches.try_next().await.unwrap() {
        stored += batch.num_rows() as u64;
        append(log, stream, reading(&batch, stream.schema(), shift_ms)).await;
    }
    log.seal().await.unwrap();
    stored
}

/// Rows of the file as rows of the stream.
pub fn reading(batch: &RecordBatch, schema: &SchemaRef, shift_ms: i64) -> RecordBatch {
    let times = batch.column(1).as_primitive::<Int64Type>().values().iter().map(|ms| (ms + shift_ms) * 1000);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
    let columns = batch.columns().iter().enumerate().map(|(n, column)| match n {
        1 => Arc::clone(&times),
        _ => arrow::compute::cast(column, schema.field(n).data_type()).unwrap(),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

/// The stream, and `copies` of the query into streams of their own: the pipeline, and the first of those.
pub fn pipeline(query: &Query, copies: usize, run: &str) -> (String, String) {
    let (columns, select) = query.continuous;
    let query: String = query.name.chars().filter(|c| c.is_alphanumeric()).collect();
    let name = |n: usize| format!("result_{}_{run}_{n}", query.to_ascii_lowercase());
    let targets = (0..copies).map(|n| format!("CREATE STREAM {0} ({columns}); INSERT INTO {0} {select};\n", name(n)));
    (format!("{STREAM}\n{}", targets.collect::<String>()), name(0))
}

/// Runs `copies` of the query from the first stored row to the last, results stored durably: seconds, and rows of one.
pub async fn continuous(log: &Log, query: &Query, copies: usize, run: &str) -> (f64, u64) {
    let (pipeline, first) = pipeline(query, copies, run);
    let before = Instant::now();
    let mut engine = start(log, &pipeline, None).await;
    engine.finish().await.unwrap();
    let seconds = before.elapsed().as_secs_f64();
    (seconds, rows_of(log, &log.stream(&first).unwrap()))
}

/// Runs a query over the file in batch: seconds, and rows of the result.
pub async fn in_batch(parquet: &Path, sql: &str) -> (f64, u64) {
    let before = Instant::now();
    let mut batches = batches(parquet, sql, 2).await;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.unwrap() {
        rows += batch.num_rows() as u64;
    }
    (before.elapsed().as_secs_f64(), rows)
}

/// What a query over the table `rows`, which is the file, gives.
pub async fn batches(parquet: &Path, sql: &str, partitions: usize) -> SendableRecordBatchStream {
    let batch_rows = if partitions == 1 { APPEND_ROWS } else { 8_192 };
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_rows);
    let context = SessionContext::new_with_config(config);
    context.register_parquet("rows", parquet.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    context.sql(sql).await.unwrap().execute_stream().await.unwrap()
}
