//! What operators say that they hold is what they have allocated: measured, not believed.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::SchemaRef;
use thermocline_sql::{OrderedShape, QueryShape, SourceFile, check};

use super::allocated::allocated_bytes;
use crate::keyed::KeyedRows;
use crate::ordered::{OrderedOperator, Run, merge_runs, operator};
use crate::query::without_row;
use crate::stage::Stage;
use crate::tables::Tables;
use crate::window::tests::aggregate;
use crate::window::{Openness, PartitionWindows};

const STREAMS: &str = "
    CREATE STREAM readings (ts TIMESTAMP NOT NULL, device TEXT, v DOUBLE, note TEXT, WATERMARK FOR ts AS ts);
    CREATE STREAM others (ts TIMESTAMP NOT NULL, device TEXT, v DOUBLE, note TEXT, WATERMARK FOR ts AS ts);
    CREATE SINK out WITH (connector = 'blackhole');
    INSERT INTO out ";

const STEPS: i64 = 20;
const STEP_ROWS: i64 = 1_000;

/// A thousand rows of hundreds of devices in one second.
fn batch(step: i64, keys: i64) -> RecordBatch {
    let rows = 0..STEP_ROWS;
    let times = TimestampMicrosecondArray::from_iter_values(rows.clone().map(|n| step * 1_000_000 + n));
    let columns: [(&str, ArrayRef); 4] = [
        ("ts", Arc::new(times.with_timezone("UTC"))),
        (
            "device",
            Arc::new(StringArray::from_iter_values(rows.clone().map(|n| format!("device number {}", n % keys)))),
        ),
        ("v", Arc::new(Float64Array::from_iter_values(rows.clone().map(|n| (n * 7 + step) as f64)))),
        ("note", Arc::new(StringArray::from_iter_values(rows.map(|n| format!("a note of some length, {n}"))))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn stages(shape: &OrderedShape) -> Vec<Stage> {
    let tables = Arc::new(Tables::without_rows(std::iter::empty()));
    let mut stages = Vec::new();
    for input in &shape.inputs {
        stages.push(Stage::over_stream(&input.plan, &input.stream, Arc::clone(&tables)).await.unwrap());
    }
    stages
}

/// Gives the query all rows while nothing that waits for the end completes; returns what it says and what it has.
async fn held(query: &str, keys: i64) -> (usize, usize) {
    let files = [SourceFile { path: PathBuf::from("test.sql"), text: format!("{STREAMS}{query};") }];
    let checked = check(&files, &|_| None);
    let found: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
    let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{}", found.join("\n")));
    let QueryShape::Ordered(shape) = &pipeline.queries[0].shape else { panic!("an ordered query") };
    let mut stages = stages(shape).await;
    let mut operator = operator(shape, &stages).unwrap();
    for step in 0..STEPS {
        give(operator.as_mut(), &mut stages, step, keys).await;
    }
    // Dropped, it gives back what it had.
    let (said, before) = (operator.bytes(), allocated_bytes());
    drop(operator);
    (said, usize::try_from(before - allocated_bytes()).unwrap())
}

async fn give(operator: &mut dyn OrderedOperator, stages: &mut [Stage], step: i64, keys: i64) {
    let schemas: Vec<SchemaRef> = stages.iter().map(|stage| without_row(&stage.schema())).collect();
    let mut runs = Vec::new();
    for stage in stages {
        let batch = batch(step, keys);
        let count = batch.num_rows();
        let row: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..count as u32));
        let rows = stage.run(count, |n| batch.columns().get(n).cloned().unwrap_or_else(|| Arc::clone(&row))).await;
        let rows = rows.unwrap();
        let rows = rows.project(&(0..rows.num_columns() - 1).collect::<Vec<_>>()).unwrap();
        let times_us = (0..STEP_ROWS).map(|n| step * 1_000_000 + n).collect();
        runs.push(Run::sorted(times_us, rows).unwrap().unwrap());
    }
    let mut borrowed: Vec<Vec<&mut Run>> = runs.iter_mut().map(|run| vec![run]).collect();
    let watermark_us = (step + 1) * 1_000_000;
    let rows = merge_runs(&mut borrowed, &schemas, watermark_us).unwrap().unwrap();
    operator.update(&rows).unwrap();
    operator.advance(watermark_us).unwrap();
}

#[tokio::test]
async fn a_stage_holds_nothing_of_its_runs() {
    let text = format!("{STREAMS} SELECT device, v + 1 AS w FROM readings WHERE v >= 0;");
    let checked = check(&[SourceFile { path: PathBuf::from("test.sql"), text }], &|_| None);
    let pipeline = checked.pipeline.unwrap();
    let QueryShape::Stateless { stream, input } = &pipeline.queries[0].shape else { panic!("a stateless query") };
    let tables = Arc::new(Tables::without_rows(std::iter::empty()));
    let mut stage = Stage::over_stream(input, stream, tables).await.unwrap();
    let rows = batch(0, 5);
    let mut held = Vec::new();
    for _ in 0..3 {
        for _ in 0..1_024 {
            stage.run(1, |n| rows.columns().get(n).map_or_else(first_row, |column| column.slice(0, 1))).await.unwrap();
        }
        held.push(allocated_bytes());
    }
    assert!(held[2] < held[0] + 65_536, "{held:?}");
}

fn first_row() -> ArrayRef {
    Arc::new(UInt32Array::from(vec![0]))
}

/// Says no less than seven eighths of what is there, and not half as much again.
async fn assert_honest(query: &str) {
    for keys in [5, 500] {
        let (said, allocated) = held(query, keys).await;
        // Beside what grows there are a few kilobytes of scratch space.
        assert!(said + 8_192 >= allocated - allocated / 8, "{query}, {keys} keys: said {said}, allocated {allocated}");
        assert!(said <= allocated + allocated / 2 + 8_192, "{query}, {keys} keys: said {said}, allocated {allocated}");
    }
}

#[tokio::test]
async fn windows_that_rows_make_hold_what_they_say() {
    let session = |calls: &str| {
        format!(
            "SELECT device, {calls} FROM SESSION(readings, ts, INTERVAL '1 hour') GROUP BY device, window_start, window_end"
        )
    };
    for calls in ["median(v) AS m", "rate(v, ts) AS r"] {
        assert_honest(&session(calls)).await;
    }
    assert_honest(
        "SELECT device, median(v) AS m FROM COUNT_WINDOW(readings, 1000000) GROUP BY device, window_start, window_end",
    )
    .await;
    assert_honest(
        "SELECT device, median(v) AS m FROM STATE_WINDOW(readings, v >= 0, v < 0) \
         GROUP BY device, window_start, window_end",
    )
    .await;
}

#[tokio::test]
async fn rows_held_for_frames_are_what_is_said() {
    assert_honest(
        "SELECT device, v, avg(v) OVER (PARTITION BY device ORDER BY ts RANGE INTERVAL '1 hour' PRECEDING) AS a \
         FROM readings",
    )
    .await;
    assert_honest("SELECT device, note, lead(v, 900) OVER (PARTITION BY device ORDER BY ts) AS a FROM readings").await;
}

#[tokio::test]
async fn rows_held_for_joins_are_what_is_said() {
    assert_honest(
        "SELECT a.device, b.note FROM readings AS a JOIN others AS b ON a.device = b.device AND a.v = b.v + 0.5 \
         AND a.ts BETWEEN b.ts - INTERVAL '1 hour' AND b.ts + INTERVAL '1 hour'",
    )
    .await;
}

/// Gives a partition's windows all rows; returns what they say and what they have.
async fn held_by_windows(call: &str, keys: i64) -> (usize, usize) {
    let aggregate = Arc::new(aggregate(&format!("key, {call}"), "key,").await);
    let mut windows = PartitionWindows::new(Arc::clone(&aggregate), Openness::default(), 0, Some(u64::MAX)).unwrap();
    for step in 0..STEPS {
        let rows = batch(step, keys);
        let keyed = KeyedRows {
            keys: vec![Arc::clone(rows.column(1))],
            arguments: vec![vec![Arc::clone(rows.column(2))]],
            filters: vec![None],
        };
        let times: Vec<i64> = (0..STEP_ROWS).map(|n| step * 1_000_000 + n).collect();
        windows.update(&times.into(), &keyed, &UInt32Array::from_iter_values(0..STEP_ROWS as u32)).unwrap();
    }
    let (said, before) = (windows.bytes(), allocated_bytes());
    drop(windows);
    (said, usize::try_from(before - allocated_bytes()).unwrap())
}

#[tokio::test]
async fn windows_hold_what_they_say() {
    for call in ["count(v)", "avg(v)", "median(v)", "stddev(v)", "approx_median(v)"] {
        for keys in [5, 500] {
            let (said, allocated) = held_by_windows(call, keys).await;
            let place = format!("{call}, {keys} keys: said {said}, allocated {allocated}");
            assert!(said + 8_192 >= allocated - allocated / 8, "{place}");
            assert!(said <= allocated + allocated / 2 + 8_192, "{place}");
        }
    }
}
