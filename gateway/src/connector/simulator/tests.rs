use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, TimeUnit, TimestampMicrosecondType};
use thermocline_log::Log;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::testing::{NOW_US, TestClock, all_rows, input, open_doomed_log, open_log, readings};

fn simulator(options: &[(&str, &str)]) -> Simulator {
    Simulator::new(&options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).unwrap()
}

async fn context(log: &Log, clock: Arc<TestClock>) -> ConnectorContext {
    ConnectorContext { log: log.clone(), input: readings(log).await, clock, shutdown: CancellationToken::new() }
}

/// The rows that a simulator makes in a log of its own.
async fn rows_of(options: &[(&str, &str)]) -> RecordBatch {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let context = context(&log, TestClock::at(NOW_US)).await;
    let stream = context.input.stream.clone();
    assert_eq!(Box::new(simulator(options)).run(context).await.unwrap(), ConnectorEnd::Finished);
    all_rows(&log, &stream)
}

#[tokio::test]
async fn rows_are_the_same_whatever_the_pacing() {
    let fast = rows_of(&[("rows", "3000"), ("speed", "max"), ("start", "2026-01-01T00:00:00Z")]).await;
    let paced = rows_of(&[("duration", "30 seconds"), ("speed", "7.5x"), ("start", "2026-01-01T00:00:00Z")]).await;
    assert_eq!(fast.num_rows(), 3000);
    assert_eq!(fast, paced);
    assert_ne!(fast, rows_of(&[("rows", "3000"), ("speed", "max"), ("seed", "43")]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_at_each_commit_it_makes_the_same_rows() {
    let options = [("rows", "100_000"), ("speed", "max"), ("rate", "1000"), ("devices", "50")];
    let undisturbed = rows_of(&options).await;
    let dir = tempfile::tempdir().unwrap();
    let mut deaths = 0;
    loop {
        let (log, disk) = open_doomed_log(dir.path());
        let context = context(&log, TestClock::at(NOW_US + deaths)).await;
        disk.syncs_left.store(deaths, Ordering::SeqCst);
        if Box::new(simulator(&options)).run(context).await.is_ok() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 1, "died {deaths} times");
    let log = open_log(dir.path());
    assert_eq!(all_rows(&log, &readings(&log).await.stream), undisturbed);
}

#[tokio::test]
async fn paced_rows_come_when_they_are_due() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let clock = TestClock::at(NOW_US);
    let context = context(&log, Arc::clone(&clock)).await;
    let stream = context.input.stream.clone();
    Box::new(simulator(&[("rate", "10"), ("rows", "100"), ("disorder", "0 s")])).run(context).await.unwrap();
    let took_s = (clock.now_us() - NOW_US) as f64 / 1e6;
    assert!((9.9..10.2).contains(&took_s), "the last of 100 rows at 10 a second is due after 9.9 s, found {took_s}");
    let rows = all_rows(&log, &stream);
    let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
    assert_eq!((times.value(0), times.value(99)), (NOW_US, NOW_US + 9_900_000));
}

#[tokio::test]
async fn a_restart_catches_up_with_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let options = [("rate", "10"), ("rows", "50")];
    let position = Position { row: 20, start_us: NOW_US, due_us: NOW_US };
    let mut commit = thermocline_log::Commit::new();
    commit.put("connector/readings/simulator/position", serde_json::to_vec(&position).unwrap());
    log.commit(commit).await.unwrap();
    let clock = TestClock::at(NOW_US + 3_600_000_000);
    let context = context(&log, Arc::clone(&clock)).await;
    let stream = context.input.stream.clone();
    Box::new(simulator(&options)).run(context).await.unwrap();
    assert_eq!(all_rows(&log, &stream).num_rows(), 30);
    assert_eq!(clock.now_us(), NOW_US + 3_600_000_000, "nothing to wait for");
}

#[tokio::test]
async fn a_plant_wanders_spikes_and_goes_silent() {
    let options =
        [("rows", "60_000"), ("rate", "100"), ("speed", "max"), ("disorder", "2 seconds"), ("dropout_rate", "0.1")];
    let rows = rows_of(&options).await;
    let devices = rows.column(0).as_string::<i32>();
    let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
    let temperatures = rows.column(2).as_primitive::<Float64Type>();
    let names: BTreeSet<_> = devices.iter().flatten().collect();
    assert_eq!((names.len(), names.first(), names.last()), (10, Some(&"dev-0001"), Some(&"dev-0010")));
    let mut latest = i64::MIN;
    let mut worst = 0;
    for us in times.values() {
        latest = latest.max(*us);
        worst = worst.max(latest - us);
    }
    assert!((1_000_000..2_000_000).contains(&worst), "disorder of {worst} µs");
    let of_first: Vec<f64> =
        (0..rows.num_rows()).filter(|i| devices.value(*i) == "dev-0001").map(|i| temperatures.value(i)).collect();
    let (low, high) = of_first.iter().fold((f64::MAX, f64::MIN), |(low, high), t| (low.min(*t), high.max(*t)));
    assert!(high - low > 20.0, "ten minutes have a spike, found {low} to {high}");
    let mut sorted = of_first.clone();
    sorted.sort_by(f64::total_cmp);
    let spread = sorted[sorted.len() * 3 / 4] - sorted[sorted.len() / 4];
    assert!(spread < 8.0, "spikes are rare, found a spread of {spread}");
    let mut times_of_first: Vec<i64> =
        (0..rows.num_rows()).filter(|i| devices.value(*i) == "dev-0001").map(|i| times.value(i)).collect();
    times_of_first.sort_unstable();
    let longest_silence = times_of_first.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest_silence > 50_000_000 || of_first.len() > 5_400, "a silent minute, found {longest_silence} µs");
    let states: BTreeSet<_> = rows.column(3).as_string::<i32>().iter().flatten().collect();
    assert!(states.is_subset(&BTreeSet::from(["ok", "idle", "warn", "error", "maint"])) && states.len() >= 4);
}

#[tokio::test]
async fn every_type_of_column_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let utc = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("at", utc(), false),
        Field::new("received_at", utc(), false),
        Field::new("rpm", DataType::Int32, false),
        Field::new("level", DataType::UInt8, false),
        Field::new("small", DataType::Float32, false),
        Field::new("price", DataType::Decimal128(10, 2), false),
        Field::new("on", DataType::Boolean, false),
        Field::new("day", DataType::Date32, false),
        Field::new("site", DataType::Utf8, false),
        Field::new("raw", DataType::Binary, false),
        Field::new("list", DataType::new_list(DataType::Int64, true), true),
    ]));
    let input = input(&log, "machines", schema).await;
    let stream = input.stream.clone();
    let context =
        ConnectorContext { log: log.clone(), input, clock: TestClock::at(NOW_US), shutdown: CancellationToken::new() };
    Box::new(simulator(&[("rows", "100"), ("speed", "max")])).run(context).await.unwrap();
    let rows = all_rows(&log, &stream);
    assert_eq!(rows.num_rows(), 100);
    assert!(rows.columns()[..11].iter().all(|column| column.null_count() == 0));
    assert_eq!(rows.column(0).as_string::<i32>().value(3), "dev-0004");
}

#[test]
fn options_that_make_no_sense() {
    let options = [
        ("devices", "0"),
        ("speed", "fast"),
        ("rate", "-1"),
        ("disorder", "a bit"),
        ("spike_rate", "2"),
        ("device", "3"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let problems: Vec<_> = Simulator::new(&options).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "option \"device\": no such option (did you mean devices)",
            "option \"speed\": expected 'max' or a factor above 0, found \"fast\"",
            "option \"rate\": expected rows a second, above 0, found \"-1\"",
            "option \"devices\": expected a number of devices from 1, found \"0\"",
            "option \"disorder\": expected a duration as '1 second', found \"a bit\"",
            "option \"spike_rate\": expected a share from 0 to 1, found \"2\"",
        ]
    );
    let problems = crate::connector::check_connector("simulater", &BTreeMap::new(), std::path::Path::new("."));
    assert_eq!(problems[0].hint.as_deref(), Some("connectors are file, simulator"));
}
