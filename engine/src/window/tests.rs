//! Panes, groups and snapshots of one small aggregate.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use thermocline_log::{Log, LogOptions};
use thermocline_sql::{QueryShape, SourceFile};

use super::groups::Groups;
use super::pane::Pane;
use super::*;
use crate::error::Error;
use crate::stage::Stage;
use crate::tables::Tables;

/// Name of the state file.
const NAME: &str = "x.snapshot";

/// The aggregate of `SELECT {outputs} … GROUP BY {keys} window_start, window_end` over rows of (key, v).
async fn aggregate(outputs: &str, keys: &str) -> WindowAggregate {
    let text = format!(
        "CREATE STREAM r (key TEXT, ts TIMESTAMP, v DOUBLE, WATERMARK FOR ts AS ts);
         CREATE SINK s WITH (connector = 'console');
         INSERT INTO s SELECT {outputs} FROM TUMBLE(r, ts, INTERVAL '10 seconds') GROUP BY {keys} window_start, window_end;"
    );
    let checked = thermocline_sql::check(&[SourceFile { path: "test.sql".into(), text }], &|_| None);
    let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let QueryShape::Windowed(shape) = &pipeline.queries[0].shape else { panic!("windowed") };
    let tables = Arc::new(Tables::without_rows(pipeline.tables.values()));
    let stage = Stage::over_stream(&shape.input, "r", tables).await.unwrap();
    WindowAggregate::try_new(shape, stage.df_schema()).unwrap()
}

fn columns(keys: &[Option<&str>], values: &[Option<f64>]) -> (Vec<ArrayRef>, Vec<Vec<ArrayRef>>) {
    let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    (vec![Arc::new(StringArray::from(keys.to_vec()))], vec![vec![values]])
}

fn floats(results: &[ArrayRef]) -> Vec<Option<f64>> {
    results[0].as_primitive::<Float64Type>().iter().collect()
}

#[tokio::test]
async fn groups_come_in_the_order_they_were_first_seen_and_merge() {
    let aggregate = aggregate("key, sum(v) AS total", "key,").await;
    let mut groups = Groups::new(&aggregate).unwrap();
    let (keys, arguments) = columns(&[Some("b"), None, Some("b")], &[Some(1.0), Some(2.0), Some(4.0)]);
    groups.update(3, &keys, &arguments, &[None]).unwrap();
    assert_eq!(groups.len(), 2);
    let state = groups.into_state(&aggregate).unwrap();

    let mut merged = Groups::new(&aggregate).unwrap();
    let (keys, arguments) = columns(&[Some("a")], &[None]);
    merged.update(1, &keys, &arguments, &[None]).unwrap();
    merged.merge(&aggregate, &state).unwrap();
    merged.merge(&aggregate, &state).unwrap();
    let (keys, results) = merged.into_results().unwrap();
    let keys: Vec<_> = keys[0].as_string::<i32>().iter().collect();
    assert_eq!(keys, [Some("a"), Some("b"), None]);
    assert_eq!(floats(&results), [None, Some(10.0), Some(4.0)]);
}

#[tokio::test]
async fn without_keys_all_rows_are_one_group() {
    let aggregate = aggregate("count(v) AS n", "").await;
    let mut groups = Groups::new(&aggregate).unwrap();
    let (_, arguments) = columns(&[], &[Some(1.0), None, Some(3.0)]);
    groups.update(3, &[], &arguments, &[None]).unwrap();
    let (keys, results) = groups.into_results().unwrap();
    assert!(keys.is_empty());
    assert_eq!(results[0].as_primitive::<Int64Type>().values(), &[2]);
}

#[tokio::test]
async fn extremes_take_nan_for_greater_than_any_number() {
    let extremes = async |function: &str, rows: &[f64]| {
        let aggregate = aggregate(&format!("key, {function}(v) AS x"), "key,").await;
        let mut groups = Groups::new(&aggregate).unwrap();
        let rows: Vec<Option<f64>> = rows.iter().copied().map(Some).collect();
        let (keys, arguments) = columns(&vec![Some("a"); rows.len()], &rows);
        groups.update(rows.len(), &keys, &arguments, &[None]).unwrap();
        floats(&groups.into_results().unwrap().1)[0].unwrap()
    };
    assert!(extremes("max", &[5.0, f64::NAN, 1.0]).await.is_nan());
    assert_eq!(extremes("min", &[5.0, f64::NAN, 1.0, f64::NAN]).await, 1.0);
    assert!(extremes("min", &[f64::NAN]).await.is_nan());
    assert_eq!(extremes("max", &[f64::NEG_INFINITY]).await, f64::NEG_INFINITY);
    assert_eq!(extremes("min", &[f64::INFINITY]).await, f64::INFINITY);
}

#[tokio::test]
async fn a_pane_that_was_cut_takes_more_rows() {
    let aggregate = aggregate("key, sum(v) AS total", "key,").await;
    let mut pane = Pane::default();
    let (keys, arguments) = columns(&[Some("a")], &[Some(1.0)]);
    pane.update(&aggregate, 1, &keys, &arguments, &[None]).unwrap();
    assert_eq!(pane.cut(&aggregate).unwrap().num_rows(), 1);
    let (keys, arguments) = columns(&[Some("b"), Some("a")], &[Some(2.0), Some(4.0)]);
    pane.update(&aggregate, 2, &keys, &arguments, &[None]).unwrap();
    let mut pane = pane.into_uncut().expect_err("it was cut");
    let mut groups = Groups::new(&aggregate).unwrap();
    groups.merge(&aggregate, pane.cut(&aggregate).unwrap()).unwrap();
    assert_eq!(floats(&groups.into_results().unwrap().1), [Some(5.0), Some(2.0)]);
}

/// Two partitions of `count(v)` per key in windows of ten seconds, and the operator over them.
struct Script {
    partitions: [PartitionWindows; 2],
    operator: WindowOperator,
}

impl Script {
    async fn new(openness: Openness) -> Self {
        let aggregate = Arc::new(aggregate("key, count(v) AS n", "key,").await);
        let partition = || PartitionWindows::new(Arc::clone(&aggregate), openness, 0, None);
        let start = Position { closed_us: i64::MIN, settled_us: i64::MIN };
        let partitions = [partition(), partition()];
        Self { partitions, operator: WindowOperator::new(aggregate, openness, start) }
    }

    /// A row at a second; whether it was late for all windows.
    fn row(&mut self, partition: usize, key: &str, second: i64) -> bool {
        let (keys, arguments) = columns(&[Some(key)], &[Some(1.0)]);
        let evaluated = Evaluated { keys, arguments, filters: vec![None] };
        let times = vec![second * 1_000_000].into();
        !self.partitions[partition].update(&times, &evaluated, &vec![0].into()).unwrap().is_empty()
    }

    /// What the watermark lets out, then what has changed besides.
    fn results(&mut self) -> Vec<String> {
        let watermark_us = self.partitions.iter().map(|p| p.watermark.current_us()).min().unwrap();
        let mut partitions: Vec<&mut PartitionWindows> = self.partitions.iter_mut().collect();
        let mut found = Vec::new();
        while let Some(Closed { rows, is_correction }) =
            self.operator.close_next(&mut partitions, watermark_us).unwrap()
        {
            let word = if is_correction { "last" } else { "first" };
            found.push(format!("{word} {}", shown(&rows)));
        }
        let changed = self.operator.changed(&mut partitions).unwrap();
        found.extend(changed.iter().map(|rows| format!("changed {}", shown(rows))));
        found
    }
}

/// Start of the window and count per key.
fn shown(rows: &RecordBatch) -> String {
    let starts = rows.column(1).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let keys = rows.column(0).as_string::<i32>().iter().map(Option::unwrap);
    let counts = rows.column(3).as_primitive::<Int64Type>().values();
    let groups: Vec<String> = keys.zip(counts).map(|(key, count)| format!("{key}={count}")).collect();
    format!("{}: {}", starts.value(0) / 1_000_000, groups.join(" "))
}

#[tokio::test]
async fn late_rows_correct_a_window_until_its_lateness_has_passed() {
    let mut script = Script::new(Openness { lateness_us: 20_000_000, previews: Previews::Late }).await;
    script.row(0, "a", 1);
    script.row(0, "a", 15);
    // Late in its own partition, while the other one has not closed the window.
    assert!(!script.row(0, "a", 2));
    script.row(1, "b", 3);
    assert_eq!(script.results(), Vec::<String>::new());
    script.row(1, "b", 12);
    assert_eq!(script.results(), ["first 0: a=1 b=1", "changed 0: a=2"]);
    assert_eq!(script.results(), Vec::<String>::new());
    assert!(!script.row(1, "b", 4) && !script.row(1, "c", 5));
    assert_eq!(script.results(), ["changed 0: b=2 c=1"]);
    // In its own partition the lateness has passed, in the other it has not.
    script.row(0, "a", 30);
    assert!(script.row(0, "a", 6));
    assert!(!script.row(1, "c", 7));
    assert_eq!(script.results(), ["changed 0: c=2"]);
    script.row(1, "b", 31);
    assert_eq!(script.results(), ["first 10: a=1 b=1", "last 0: a=2 b=2 c=2"]);
    assert_eq!(script.partitions.iter().map(PartitionWindows::open_panes).sum::<usize>(), 4);
}

#[tokio::test]
async fn without_previews_a_correction_comes_once_and_last() {
    let mut script = Script::new(Openness { lateness_us: 20_000_000, previews: Previews::None }).await;
    for partition in 0..2 {
        script.row(partition, "a", 1);
        script.row(partition, "a", 12);
        script.row(partition, "a", 2);
    }
    assert_eq!(script.results(), ["first 0: a=2"]);
    script.row(0, "b", 30);
    script.row(1, "b", 30);
    assert_eq!(script.results(), ["first 10: a=2", "last 0: a=4"]);
}

#[tokio::test]
async fn open_windows_show_what_has_changed() {
    let mut script = Script::new(Openness { lateness_us: 0, previews: Previews::All }).await;
    script.row(0, "a", 1);
    script.row(1, "b", 11);
    assert_eq!(script.results(), ["changed 0: a=1", "changed 10: b=1"]);
    script.row(1, "a", 12);
    assert_eq!(script.results(), ["changed 10: a=1"]);
    script.row(0, "c", 13);
    assert_eq!(script.results(), ["first 0: a=1", "changed 10: c=1"]);
    assert_eq!(script.results(), Vec::<String>::new());
}

async fn state(aggregate: &WindowAggregate, keyed: bool) -> PartitionState {
    let mut panes = Vec::new();
    for n in 0..3 {
        let mut pane = Pane::default();
        let (keys, arguments) = columns(&[Some("a"), None], &[Some(f64::from(n)), Some(f64::NAN)]);
        let (keys, arguments) = if keyed { (keys, arguments) } else { (vec![], vec![]) };
        let filters: Vec<_> = arguments.iter().map(|_| None).collect();
        pane.update(aggregate, 2, &keys, &arguments, &filters).unwrap();
        let start_us = i64::from(n) * 10_000_000 - 10_000_000;
        let key = assign::PaneKey {
            start_us,
            first_end_us: start_us + 10_000_000,
            on_time_end_us: if n == 1 { i64::MAX } else { start_us + 10_000_000 },
        };
        panes.push((key, pane.cut(aggregate).unwrap().clone()));
    }
    PartitionState { next_offset: 42, next_checkpoint: 99, watermark_us: -7, panes }
}

fn assert_same(found: &PartitionState, expected: &PartitionState) {
    assert_eq!(found.next_offset, expected.next_offset);
    assert_eq!(found.next_checkpoint, expected.next_checkpoint);
    assert_eq!(found.watermark_us, expected.watermark_us);
    assert_eq!(found.panes.len(), expected.panes.len());
    for ((found_key, found), (key, expected)) in found.panes.iter().zip(&expected.panes) {
        assert_eq!(found_key, key);
        assert_eq!(found.num_rows(), expected.num_rows());
        // NaN is not equal to itself: the text is.
        let text = |rows: &RecordBatch| format!("{rows:?}");
        assert_eq!(text(found), text(expected));
    }
}

#[tokio::test]
async fn a_snapshot_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    for outputs in ["key, avg(v) AS x", "key, count(DISTINCT v) AS x"] {
        let aggregate = aggregate(outputs, "key,").await;
        let expected = state(&aggregate, true).await;
        write_snapshot(&log, NAME, &expected).unwrap();
        assert_same(&read_snapshot(&log, NAME, &aggregate).unwrap().unwrap(), &expected);
    }
    // Neither keys nor functions: a state without columns still is one row.
    let aggregate = aggregate("window_start AS s", "").await;
    let expected = state(&aggregate, false).await;
    write_snapshot(&log, NAME, &expected).unwrap();
    assert_same(&read_snapshot(&log, NAME, &aggregate).unwrap().unwrap(), &expected);
}

#[tokio::test]
async fn any_flipped_bit_is_detected_and_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let path = log.state_dir().join(NAME);
    let aggregate = aggregate("key, avg(v) AS x", "key,").await;
    write_snapshot(&log, NAME, &state(&aggregate, true).await).unwrap();
    let intact = std::fs::read(&path).unwrap();
    for byte in (0..intact.len()).step_by(7).chain(0..16).chain(intact.len() - 8..intact.len()) {
        let mut broken = intact.clone();
        broken[byte] ^= 1 << (byte % 8);
        std::fs::write(&path, &broken).unwrap();
        let error = read_snapshot(&log, NAME, &aggregate).expect_err("a bit is wrong");
        assert!(matches!(&error, Error::State { name, .. } if name.ends_with("x.snapshot")), "byte {byte}: {error}");
    }
    for length in [0, 5, 12, intact.len() / 2, intact.len() - 1] {
        std::fs::write(&path, &intact[..length]).unwrap();
        let error = read_snapshot(&log, NAME, &aggregate).expect_err("the end is missing");
        assert!(error.to_string().contains("x.snapshot"), "{length} bytes: {error}");
    }
}

#[tokio::test]
async fn an_unknown_version_is_refused_with_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let path = log.state_dir().join(NAME);
    let aggregate = aggregate("key, avg(v) AS x", "key,").await;
    write_snapshot(&log, NAME, &state(&aggregate, true).await).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[6..8].copy_from_slice(&9_u16.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let text = read_snapshot(&log, NAME, &aggregate).unwrap_err().to_string();
    assert!(text.contains("format version 1") && text.contains("version 9"), "{text}");
}

#[tokio::test]
async fn a_state_of_other_types_is_none_of_the_query() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    write_snapshot(&log, NAME, &state(&aggregate("key, avg(v) AS x", "key,").await, true).await).unwrap();
    let other = aggregate("key, count(v) AS x", "key,").await;
    assert!(read_snapshot(&log, NAME, &other).unwrap().is_none());
}
