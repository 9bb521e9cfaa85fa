//! Operators of keys by script: the rows of one partition go in, each moves the watermark of its own key.
//!
//! ```text
//!  3 a 1.5     a row: its second, its key, its value
//!  finish      nothing more will come
//! ```
//!
//! A script is run row by row, all rows at once, with a restart after each row, and the same from files of which each holds
//! what has changed: the rows that come out are the same.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thermocline_sql::{QueryShape, SourceFile, check};

use super::*;
use crate::snapshot::{TestFiles, Tracking};
use crate::stage::Stage;
use crate::tables::Tables;

const STREAM: &str = "CREATE STREAM readings (ts TIMESTAMP NOT NULL, device TEXT, v DOUBLE,
        WATERMARK FOR ts AS ts - INTERVAL '1 second' PER device) PARTITION BY (device);
    CREATE SINK out WITH (connector = 'influxdb', url = 'http://localhost:1', database = 'x');
    INSERT INTO out ";

/// What the query makes of the script: each row, and what is emitted with it.
async fn run(query: &str, script: &str) -> String {
    let mut by_row = Session::open(query).await;
    let mut at_once = Session::open(query).await;
    let mut restarted = Session::open(query).await;
    let mut from_files = Session::open(query).await;
    let mut shown = String::new();
    let mut expected = Vec::new();
    let lines: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for line in &lines {
        writeln!(shown, "{line}").unwrap();
        let found = by_row.take(&[line]).await;
        shown.extend(found.iter().map(|row| format!("  {row}\n")));
        assert_eq!(restarted.take(&[line]).await, found, "after a restart: {line}");
        restarted = restarted.restart(query).await;
        assert_eq!(from_files.take(&[line]).await, found, "after a restart from files: {line}");
        from_files = from_files.restart_from_files(query).await;
        expected.extend(found);
    }
    let (last, rows) = lines.split_last().unwrap();
    let mut found = at_once.take(rows).await;
    found.extend(at_once.take(&[last]).await);
    // Late rows are told with the rows that they came with.
    let emitted = |rows: &[String]| rows.iter().filter(|row| *row != "late").cloned().collect::<Vec<_>>();
    assert_eq!(emitted(&found), emitted(&expected), "all rows at once");
    shown
}

struct Session {
    stage: Stage,
    output: Stage,
    watermarks: KeyWatermarks,
    operator: Box<dyn PerKeyOperator>,
    tracking: Tracking,
    files: TestFiles,
}

impl Session {
    async fn open(query: &str) -> Self {
        let files = [SourceFile { path: "test.sql".into(), text: format!("{STREAM}{query};") }];
        let checked = check(&files, &|_| None);
        let found: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
        let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{}", found.join("\n")));
        let query = &pipeline.queries[0];
        let tables = Arc::new(Tables::without_rows(std::iter::empty()));
        let (input, output) = match &query.shape {
            QueryShape::Windowed(shape) => (&shape.input, &shape.output),
            QueryShape::Ordered(shape) => (&shape.inputs[0].plan, &shape.output),
            QueryShape::Stateless { .. } => panic!("a query with state"),
        };
        let stage = Stage::over_stream(input, "readings", Arc::clone(&tables)).await.unwrap();
        let operator: Box<dyn PerKeyOperator> = match &query.shape {
            QueryShape::Windowed(shape) => {
                let lateness = Lateness { us: query.emit.lateness_us, last_only: false };
                Box::new(AlignedWindows::try_new(shape, lateness, stage.df_schema()).unwrap())
            }
            QueryShape::Ordered(shape) => in_order(shape, &stage).unwrap(),
            QueryShape::Stateless { .. } => unreachable!(),
        };
        let output = Stage::over_placeholder(output, tables).await.unwrap();
        let key = Arc::new(Schema::new(vec![Field::new("device", DataType::Utf8, true)]));
        let watermarks = KeyWatermarks::new(&key, 1_000_000).unwrap();
        Self { stage, output, watermarks, operator, tracking: Tracking::default(), files: TestFiles::default() }
    }

    async fn restart(mut self, query: &str) -> Self {
        let mut fresh = Self::open(query).await;
        let mut tracking = Tracking::default();
        tracking.take(self.tracked());
        let tables = self.operator.state(&self.watermarks).unwrap().into_iter().zip(self.operator.state_shapes());
        let state: Vec<_> = tables.map(|(table, shape)| table.into_rows(shape).unwrap()).collect();
        let watermarks = self.watermarks.state().unwrap().into_rows(self.watermarks.state_shape()).unwrap();
        fresh.watermarks.restore(&watermarks).unwrap();
        fresh.operator.restore(&state).unwrap();
        fresh
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        std::iter::once(self.watermarks.tracked()).chain(self.operator.tracked()).collect()
    }

    /// Goes on from files of which each holds what has changed, where the last one could be stored.
    async fn restart_from_files(mut self, query: &str) -> Self {
        let mut tracking = std::mem::take(&mut self.tracking);
        let after = tracking.take(self.tracked());
        let mut tables = vec![self.watermarks.state().unwrap()];
        tables.extend(self.operator.state(&self.watermarks).unwrap());
        let shapes: Vec<_> =
            std::iter::once(self.watermarks.state_shape()).chain(self.operator.state_shapes()).cloned().collect();
        let Some(position) = self.files.store(after, tables, &shapes) else {
            tracking.not_stored(self.tracked());
            return Self { tracking, ..self };
        };
        let mut fresh = Self::open(query).await;
        let tables = self.files.read(&shapes);
        fresh.watermarks.restore(&tables[0]).unwrap();
        fresh.operator.restore(&tables[1..]).unwrap();
        let mut tracking = Tracking::default();
        tracking.restored(position, fresh.tracked());
        Self { tracking, files: self.files, ..fresh }
    }

    /// What comes of lines of the script.
    async fn take(&mut self, lines: &[&str]) -> Vec<String> {
        let mut shown = Vec::new();
        if lines == ["finish"] {
            let emitted = self.operator.finish(&mut self.watermarks).unwrap();
            self.show(emitted, &mut shown).await;
            return shown;
        }
        let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let of = |column: usize| cells.iter().map(move |row| (row[column] != "-").then_some(row[column]));
        let micros = |text: &str| (text.parse::<f64>().unwrap() * 1e6) as i64;
        let times = TimestampMicrosecondArray::from_iter(of(0).map(|text| text.map(micros))).with_timezone("UTC");
        let values = of(2).map(|text| text.map(|text| text.parse::<f64>().unwrap()));
        let keys: ArrayRef = Arc::new(StringArray::from_iter(of(1)));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(times), Arc::clone(&keys), Arc::new(Float64Array::from_iter(values))];
        let row_of: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..lines.len() as u32));
        let column = |i: usize| columns.get(i).cloned().unwrap_or_else(|| Arc::clone(&row_of));
        let output = self.stage.run(lines.len(), column).await.unwrap();
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let stamps = self.watermarks.observe(&[keys], times).unwrap();
        let rows = StampedRows { output: &output, times, stamps: &stamps };
        let Outcome { emitted, late, failed } = self.operator.update(&rows).unwrap();
        assert!(failed.is_empty());
        shown.extend(late.iter().map(|_| "late".to_owned()));
        self.show(emitted, &mut shown).await;
        shown
    }

    async fn show(&mut self, emitted: Vec<Emitted>, shown: &mut Vec<String>) {
        let options = FormatOptions::default().with_null("-").with_timestamp_tz_format(Some("%S%.f"));
        for Emitted { rows, is_correction } in emitted {
            let rows: RecordBatch = self.output.run(rows.num_rows(), |i| Arc::clone(rows.column(i))).await.unwrap();
            let columns: Vec<_> =
                rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
            for row in 0..rows.num_rows() {
                let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                let again = if is_correction { "again " } else { "" };
                shown.push(format!("{again}{}", cells.join(" ")));
            }
        }
    }
}

/// `b` is offline until `a` is far ahead, and then sends what it has kept, out of order.
const OFFLINE: &str = "
    1 a 1
    2 b 10
    6 a 2
    12 a 3
    30 a 4
    3 b 20
    8 b 30
    7 b -
    1 b 40
    14 b 50
    2 - 7
    finish
";

#[tokio::test]
async fn windows_close_by_their_own_key() {
    let query = "SELECT device, window_start, window_end, count(*) AS n, sum(v) AS total
        FROM TUMBLE(readings, ts, INTERVAL '5 seconds') GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, OFFLINE).await, @r#"
    1 a 1
    2 b 10
    6 a 2
      a 00 05 1 1.0
    12 a 3
      a 05 10 1 2.0
    30 a 4
      a 10 15 1 3.0
    3 b 20
    8 b 30
      b 00 05 2 30.0
    7 b -
    1 b 40
      late
    14 b 50
      b 05 10 2 30.0
    2 - 7
    finish
      - 00 05 1 7.0
      b 10 15 1 50.0
      a 30 35 1 4.0
    "#);
}

#[tokio::test]
async fn late_rows_correct_the_windows_of_their_key() {
    let query = "SELECT device, window_start, window_end, count(*) AS n, sum(v) AS total
        FROM TUMBLE(readings, ts, INTERVAL '5 seconds') GROUP BY device, window_start, window_end
        ALLOW LATENESS INTERVAL '5 seconds'";
    insta::assert_snapshot!(run(query, OFFLINE).await, @r#"
    1 a 1
    2 b 10
    6 a 2
      a 00 05 1 1.0
    12 a 3
      a 05 10 1 2.0
    30 a 4
      a 10 15 1 3.0
    3 b 20
    8 b 30
      b 00 05 2 30.0
    7 b -
    1 b 40
      again b 00 05 3 70.0
    14 b 50
      b 05 10 2 30.0
    2 - 7
    finish
      - 00 05 1 7.0
      b 10 15 1 50.0
      a 30 35 1 4.0
    "#);
}

#[tokio::test]
async fn sessions_end_by_their_own_key() {
    let query = "SELECT device, window_start, window_end, count(*) AS n, sum(v) AS total
        FROM SESSION(readings, ts, INTERVAL '3 seconds') GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, OFFLINE).await, @r#"
    1 a 1
    2 b 10
    6 a 2
      a 01 04 1 1.0
    12 a 3
      a 06 09 1 2.0
    30 a 4
      a 12 15 1 3.0
    3 b 20
    8 b 30
      b 02 06 2 30.0
    7 b -
    1 b 40
      late
    14 b 50
      b 07 11 2 30.0
    2 - 7
    finish
      - 02 05 1 7.0
      b 14 17 1 50.0
      a 30 33 1 4.0
    "#);
}

#[tokio::test]
async fn calls_go_by_the_order_of_their_own_key() {
    let query = "SELECT device, ts, v, lag(v) OVER (PARTITION BY device ORDER BY ts) AS before,
            lead(v) OVER (PARTITION BY device ORDER BY ts) AS next
        FROM readings";
    insta::assert_snapshot!(run(query, OFFLINE).await, @r#"
    1 a 1
    2 b 10
    6 a 2
    12 a 3
      a 01 1.0 - 2.0
    30 a 4
      a 06 2.0 1.0 3.0
    3 b 20
    8 b 30
      b 02 10.0 - 20.0
    7 b -
    1 b 40
      late
    14 b 50
      b 03 20.0 10.0 -
      b 07 - 20.0 30.0
    2 - 7
    finish
      b 08 30.0 - 50.0
      a 12 3.0 2.0 4.0
    "#);
}

/// Keys come and go, among others that stay: whatever of that lies between two snapshots, nothing is lost and nothing comes back.
#[tokio::test]
async fn random_rows_of_keys_that_come_and_go() {
    // A key's row also ends what others of its groups have.
    let windows = "device, v > 5 AS high, window_start, window_end, count(*) AS n, sum(v) AS total";
    let group = "GROUP BY device, v > 5, window_start, window_end";
    let tumble = format!("SELECT {windows} FROM TUMBLE(readings, ts, INTERVAL '4 seconds') {group}");
    let queries = [
        format!("{tumble} ALLOW LATENESS INTERVAL '5 seconds'"),
        tumble,
        format!("SELECT {windows} FROM SESSION(readings, ts, INTERVAL '3 seconds') {group}"),
        format!("SELECT {windows} FROM COUNT_WINDOW(readings, 4, 2) {group}"),
        "SELECT device, row_number() OVER w AS n, sum(v) OVER w AS total
            FROM readings WINDOW w AS (PARTITION BY device ORDER BY ts)"
            .to_owned(),
        "SELECT device, v, lead(v) OVER (PARTITION BY device ORDER BY ts) AS next FROM readings".to_owned(),
    ];
    for (seed, query) in (0..4_u64).flat_map(|seed| queries.iter().map(move |query| (seed, query))) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut script = String::new();
        for n in 0..50 {
            // The first two keys are there all the time, the others for a while; some rows are late.
            let key = match random.random_range(0..3) {
                0 => random.random_range(0..2),
                _ => 2 + n / 8 + random.random_range(0..3),
            };
            let second = (n / 2 + 4 - random.random_range(0..5)).max(0);
            writeln!(script, "{second} k{key} {}", random.random_range(0..10)).unwrap();
        }
        script += "finish";
        run(query, &script).await;
    }
}
