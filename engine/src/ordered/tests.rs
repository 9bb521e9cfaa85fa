//! Operators by script: rows and watermarks go in, rows come out.
//!
//! ```text
//!  readings 3 a 1.5     a row of a stream: its columns, `-` for NULL, times in seconds since 1970
//!  watermark 5          what is emitted once the rows before second 5 have come
//!  silent 9             a decision of a query that watches for silence, made when the rows before the watermark have come;
//!                       also `expect a b since 5`, `begin 1`, `down 5`, `up 7`
//! ```
//!
//! A script is run as it stands, with a restart before each line, the same from files of which each holds what has changed,
//! with watermarks between all rows, and with all decisions known from the beginning: the rows that come out are the same.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thermocline_sql::{OrderedShape, QueryShape, SourceFile, check};

use super::operator::whole_state;
use super::{Decided, Decision, OrderedOperator, Run, merge_runs, operator};
use crate::snapshot::{TestFiles, Tracking};
use crate::stage::Stage;
use crate::tables::Tables;
use crate::watermark::NO_WATERMARK;

const STREAMS: &str = "
    CREATE STREAM readings (ts TIMESTAMP NOT NULL, device TEXT, v DOUBLE, WATERMARK FOR ts AS ts);
    CREATE STREAM others (ts TIMESTAMP NOT NULL, device TEXT, v DOUBLE, WATERMARK FOR ts AS ts);
    CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv');
    CREATE SINK out WITH (connector = 'blackhole');
    ";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AsWritten,
    Restarts,
    Increments,
    EveryTime,
    Replay,
}

/// What the query makes of the script: each watermark, and the rows that are emitted with it.
pub(super) async fn run(query: &str, script: &str) -> String {
    let written = run_as(query, script, Mode::AsWritten).await;
    let rows = |text: &str| text.lines().filter(|line| !line.starts_with("watermark")).collect::<Vec<_>>().join("\n");
    for mode in [Mode::Restarts, Mode::Increments, Mode::EveryTime, Mode::Replay] {
        assert_eq!(rows(&run_as(query, script, mode).await), rows(&written), "{mode:?}");
    }
    written
}

async fn run_as(query: &str, script: &str, mode: Mode) -> String {
    let files = [SourceFile { path: PathBuf::from("test.sql"), text: statement(query) }];
    let checked = check(&files, &|_| None);
    let found: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
    let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{}", found.join("\n")));
    let shapes = pipeline.queries.iter().map(|query| &query.shape);
    let mut shapes = shapes.chain(pipeline.alerts.values().map(|alert| &alert.shape));
    let Some(QueryShape::Ordered(shape)) = shapes.next() else { panic!("an ordered query") };
    let mut session = Session::open(shape).await;
    if mode == Mode::Replay {
        session.know_decisions(script);
    }
    let mut shown = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if mode == Mode::Restarts {
            session.restart();
        }
        if mode == Mode::Increments {
            session.restart_from_files();
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["watermark", seconds] => {
                let watermark_us = micros(seconds);
                if mode == Mode::EveryTime {
                    for time_us in session.times_before(watermark_us) {
                        session.advance(time_us + 1, &mut shown).await;
                    }
                }
                writeln!(shown, "{line}").unwrap();
                session.advance(watermark_us, &mut shown).await;
            }
            ["expect" | "begin" | "down" | "up" | "silent", ..] if mode == Mode::Replay => {}
            ["expect" | "begin" | "down" | "up" | "silent", ..] => {
                writeln!(shown, "watermark, and {line}").unwrap();
                session.decide(&words, &mut shown).await;
            }
            [stream, cells @ ..] => session.add(stream, &pipeline.streams[*stream].schema, cells).await,
            [] => {}
        }
    }
    shown
}

fn statement(query: &str) -> String {
    match query.starts_with("CREATE") {
        true => format!("{STREAMS}{query};"),
        false => format!("{STREAMS}INSERT INTO out {query};"),
    }
}

fn micros(seconds: &str) -> i64 {
    (seconds.parse::<f64>().unwrap() * 1e6) as i64
}

struct Session<'a> {
    shape: &'a OrderedShape,
    inputs: Vec<Stage>,
    output: Stage,
    operator: Box<dyn OrderedOperator>,
    runs: Vec<Vec<Run>>,
    watermark_us: i64,
    tracking: Tracking,
    files: TestFiles,
}

impl<'a> Session<'a> {
    async fn open(shape: &'a OrderedShape) -> Self {
        let tables = Arc::new(Tables::without_rows(std::iter::empty()));
        let mut inputs = Vec::new();
        for input in &shape.inputs {
            inputs.push(Stage::over_stream(&input.plan, &input.stream, Arc::clone(&tables)).await.unwrap());
        }
        let output = Stage::over_placeholder(&shape.output, tables).await.unwrap();
        let operator = operator(shape, &inputs).unwrap();
        let runs = shape.inputs.iter().map(|_| Vec::new()).collect();
        let (tracking, files) = (Tracking::default(), TestFiles::default());
        Self { shape, inputs, output, operator, runs, watermark_us: NO_WATERMARK, tracking, files }
    }

    fn schema(stage: &Stage) -> SchemaRef {
        let fields = stage.schema().fields().clone();
        Arc::new(Schema::new(fields[..fields.len() - 1].to_vec()))
    }

    async fn add(&mut self, stream: &str, schema: &SchemaRef, cells: &[&str]) {
        let columns: Vec<ArrayRef> =
            cells.iter().zip(schema.fields()).map(|(cell, f)| value(cell, f.data_type())).collect();
        let time_us = micros(cells[0]);
        for (n, input) in self.shape.inputs.iter().enumerate().filter(|(_, input)| input.stream == stream) {
            assert_eq!(input.stream, stream);
            let stage = &mut self.inputs[n];
            let row: ArrayRef = Arc::new(arrow::array::UInt32Array::from(vec![0]));
            let rows = stage.run(1, |i| columns.get(i).cloned().unwrap_or_else(|| Arc::clone(&row))).await.unwrap();
            let columns: Vec<usize> = (0..rows.num_columns() - 1).collect();
            let rows = rows.project(&columns).unwrap();
            self.runs[n].extend(Run::sorted(vec![time_us; rows.num_rows()], rows).unwrap());
        }
    }

    fn times_before(&self, watermark_us: i64) -> Vec<i64> {
        let runs = self.runs.iter().flatten().filter(|run| run.len() > 0);
        let mut times: Vec<i64> = runs.map(Run::last_us).filter(|time_us| *time_us < watermark_us).collect();
        times.sort_unstable();
        times
    }

    async fn advance(&mut self, watermark_us: i64, shown: &mut String) {
        let schemas: Vec<SchemaRef> = self.inputs.iter().map(Self::schema).collect();
        let mut runs: Vec<Vec<&mut Run>> = self.runs.iter_mut().map(|runs| runs.iter_mut().collect()).collect();
        if let Some(rows) = merge_runs(&mut runs, &schemas, watermark_us).unwrap() {
            self.operator.update(&rows).unwrap();
        }
        self.watermark_us = watermark_us;
        let emitted = self.operator.advance(watermark_us).unwrap();
        self.show(emitted, shown).await;
    }

    async fn show(&mut self, emitted: Vec<RecordBatch>, shown: &mut String) {
        for rows in emitted {
            let rows = self.output.run(rows.num_rows(), |i| Arc::clone(rows.column(i))).await.unwrap();
            show(&rows, shown);
        }
    }

    /// What a line of the script decides.
    fn decision(&mut self, words: &[&str], number: u64, at_us: i64) -> Decision {
        let columns = Arc::clone(self.operator.as_absence().unwrap().columns());
        let what = match words {
            ["expect", keys @ .., "since", seconds] => {
                Decided::Expect { rows: keyed_rows(&columns, keys), since_us: Some(micros(seconds)) }
            }
            ["expect", keys @ ..] => Decided::Expect { rows: keyed_rows(&columns, keys), since_us: None },
            ["begin", seconds] => Decided::Begin { us: micros(seconds) },
            ["down", seconds] => Decided::Down { from_us: micros(seconds) },
            ["up", seconds] => Decided::Up { us: micros(seconds) },
            ["silent", seconds] => Decided::Silent { now_us: micros(seconds) },
            other => panic!("{other:?}"),
        };
        let decision = Decision { number, at_us, what };
        // As it is after it was stored.
        Decision::decode(&decision.encode().unwrap(), &columns).unwrap()
    }

    async fn decide(&mut self, words: &[&str], shown: &mut String) {
        let number = self.operator.as_absence().unwrap().next_decision();
        let decision = self.decision(words, number, self.watermark_us);
        let emitted = self.operator.as_absence().unwrap().decide(decision).unwrap();
        self.show(emitted, shown).await;
    }

    fn know_decisions(&mut self, script: &str) {
        let mut at_us = NO_WATERMARK;
        let mut decisions = Vec::new();
        for line in script.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["watermark", seconds] => at_us = micros(seconds),
                ["expect" | "begin" | "down" | "up" | "silent", ..] => {
                    let decision = self.decision(&words, decisions.len() as u64, at_us);
                    decisions.push(decision);
                }
                _ => {}
            }
        }
        if !decisions.is_empty() {
            self.operator.as_absence().unwrap().repeat(decisions);
        }
    }

    fn restart(&mut self) {
        let state = whole_state(self.operator.as_mut()).unwrap();
        for (table, shape) in state.iter().zip(self.operator.state_shapes()) {
            assert_eq!(table.schema(), shape.schema);
        }
        let mut fresh = operator(self.shape, &self.inputs).unwrap();
        fresh.restore(&state).unwrap();
        assert_eq!(fresh.horizon_us(), self.operator.horizon_us());
        self.operator = fresh;
    }

    /// Goes on from files of which each holds what has changed, where the last one could be stored.
    fn restart_from_files(&mut self) {
        let after = self.tracking.take(self.operator.tracked());
        let tables = self.operator.state().unwrap();
        let Some(position) = self.files.store(after, tables, self.operator.state_shapes()) else {
            return self.tracking.not_stored(self.operator.tracked());
        };
        let mut fresh = operator(self.shape, &self.inputs).unwrap();
        fresh.restore(&self.files.read(fresh.state_shapes())).unwrap();
        assert_eq!(fresh.horizon_us(), self.operator.horizon_us());
        self.operator = fresh;
        self.tracking = Tracking::default();
        self.tracking.restored(position, self.operator.tracked());
    }
}

/// Rows with these keys in the column `device`, NULL in all others.
fn keyed_rows(columns: &SchemaRef, keys: &[&str]) -> RecordBatch {
    let column = |field: &Arc<arrow::datatypes::Field>| match field.name().as_str() {
        "device" => cast(&StringArray::from(keys.to_vec()), field.data_type()).unwrap(),
        _ => arrow::array::new_null_array(field.data_type(), keys.len()),
    };
    RecordBatch::try_new(Arc::clone(columns), columns.fields().iter().map(column).collect()).unwrap()
}

fn value(cell: &str, data_type: &DataType) -> ArrayRef {
    let text = StringArray::from(vec![(cell != "-").then_some(cell)]);
    match data_type {
        DataType::Timestamp(..) => cast(&arrow::array::Int64Array::from(vec![micros(cell)]), data_type).unwrap(),
        _ => cast(&text, data_type).unwrap(),
    }
}

fn show(rows: &RecordBatch, shown: &mut String) {
    let rows = concat_batches(&rows.schema(), [rows]).unwrap();
    let options = FormatOptions::default().with_null("-").with_timestamp_tz_format(Some("%S%.f"));
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    for row in 0..rows.num_rows() {
        let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
        writeln!(shown, "  {}", cells.join(" ")).unwrap();
    }
}

const DISORDER: &str = "
    readings 3 a 3
    readings 1 a 1
    readings 2 b 10
    readings 2 a 2
    watermark 3
    readings 3 a 4
    readings 4 - 7
    readings 9 a 5
    watermark 5
    readings 5 b 20
    readings 6 a -
    watermark 30
    watermark 60
";

#[tokio::test]
async fn sessions() {
    let query = "SELECT device, window_start, window_end, count(*), sum(v)
        FROM SESSION(readings, ts, INTERVAL '2 seconds') GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
    watermark 5
      b 02 04 1 10.0
      a 01 05 4 10.0
    watermark 30
      - 04 06 1 7.0
      b 05 07 1 20.0
      a 06 08 1 -
      a 09 11 1 5.0
    watermark 60
    "#);
}

#[tokio::test]
async fn windows_of_three_rows() {
    let query = "SELECT device, window_start, window_end, window_time, count(*), sum(v)
        FROM COUNT_WINDOW(readings, 3) GROUP BY device, window_start, window_end, window_time";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
    watermark 5
      a 01 03.000001 03 3 6.0
    watermark 30
      a 03 09.000001 09 3 9.0
    watermark 60
    "#);
}

#[tokio::test]
async fn overlapping_windows_of_rows() {
    let query = "SELECT device, window_start, window_end, count(*), sum(v), count(DISTINCT v)
        FROM COUNT_WINDOW(readings, 3, 1) GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
    watermark 5
      a 01 03.000001 3 6.0 3
      a 02 03.000001 3 9.0 3
    watermark 30
      a 03 06.000001 3 7.0 2
      a 03 09.000001 3 9.0 2
    watermark 60
    "#);
    let query = "SELECT window_start, window_end, count(v), sum(v)
        FROM COUNT_WINDOW(readings, SIZE => 5, SLIDE => 2) GROUP BY window_start, window_end";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
    watermark 5
      01 03.000001 5 20.0
    watermark 30
      02 05.000001 5 36.0
      03 09.000001 4 36.0
    watermark 60
    "#);
}

#[tokio::test]
async fn windows_of_rows_with_gaps() {
    let query = "SELECT window_start, window_end, count(*), sum(v)
        FROM COUNT_WINDOW(readings, 2, 3) GROUP BY window_start, window_end";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
      01 02.000001 2 11.0
    watermark 5
      03 03.000001 2 7.0
    watermark 30
      05 06.000001 2 20.0
    watermark 60
    "#);
    let query = "SELECT device, window_start, window_end, count(*)
        FROM COUNT_WINDOW(readings, 1, 2) GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
      a 01 01.000001 1
      b 02 02.000001 1
    watermark 5
      a 03 03.000001 1
      - 04 04.000001 1
    watermark 30
      a 06 06.000001 1
    watermark 60
    "#);
}

/// From above 50 to below 40; a row that both starts and ends, one of NULL, one that ends nothing.
const STATES: &str = "
    readings 1 a 30
    readings 2 a 60
    readings 2 b 35
    readings 3 a 45
    readings 4 a -
    readings 5 a 70
    readings 5 b 55
    watermark 6
    readings 7 a 39
    readings 7 b -
    readings 6 a 41
    readings 8 a 38
    readings 9 a 51
    readings 9 a 20
    watermark 10
    readings 11 c 99
    readings 12 c 1
    readings 13 c 1
    watermark 14
";

#[tokio::test]
async fn states() {
    let query = "SELECT device, window_start, window_end, count(*), max(v)
        FROM STATE_WINDOW(readings, v > 50, v < 40) GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, STATES).await, @r#"
    watermark 6
    watermark 10
      a 02 07.000001 6 70.0
      a 09 09.000001 2 51.0
    watermark 14
      c 11 12.000001 2 99.0
    "#);
}

#[tokio::test]
async fn a_row_for_which_both_conditions_hold_is_a_window_or_ends_one() {
    let query = "SELECT device, window_start, window_end, count(*)
        FROM STATE_WINDOW(readings, v > 50, v > 65 OR v IS NULL) GROUP BY device, window_start, window_end";
    insta::assert_snapshot!(run(query, STATES).await, @r#"
    watermark 6
      a 02 04.000001 3
      a 05 05.000001 1
    watermark 10
      b 05 07.000001 2
    watermark 14
      c 11 11.000001 1
    "#);
}

/// Sketches and correlations too: neither batches nor stored states may show in the last bit.
#[tokio::test]
async fn functions_give_the_same_to_the_bit_however_their_rows_come() {
    let mut script = String::new();
    let mut state = 7_u64;
    for n in 0..600 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        writeln!(script, "readings {n} a {}", (state >> 33) as f64 / 1e7).unwrap();
        if n % 90 == 89 {
            writeln!(script, "watermark {n}").unwrap();
        }
    }
    script += "watermark 1000";
    let query =
        "SELECT window_start, approx_percentile_cont(v, 0.9), approx_median(v), corr(v, sqrt(v)), covar_samp(v, v * v),
            regr_slope(v, sqrt(v)), stddev(v), var_pop(v), sum(v), avg(v), median(v), count(DISTINCT v), bool_or(v > 3),
            min(CAST(v AS REAL)) AS low, avg(CAST(v * 2 AS INT)) AS mean, sum(CAST(v * 3 AS DECIMAL(20, 3))) AS total,
            length(string_agg(device, ',')), approx_distinct(device)
        FROM COUNT_WINDOW(readings, 400, 100) GROUP BY window_start, window_end";
    let shown = run(query, &script).await;
    assert_eq!(shown.lines().filter(|line| !line.starts_with("watermark")).count(), 3, "{shown}");
}

#[tokio::test]
async fn calls_of_frames_and_of_running_states() {
    let query = "SELECT device, v, sum(v) OVER w, lag(v, 2) OVER w, row_number() OVER w, max(v) OVER (ORDER BY ts)
        FROM readings WINDOW w AS (PARTITION BY device ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
      a 1.0 1.0 - 1 1.0
      b 10.0 10.0 - 1 10.0
      a 2.0 3.0 - 2 10.0
    watermark 5
      a 3.0 5.0 1.0 3 10.0
      a 4.0 7.0 2.0 4 10.0
      - 7.0 7.0 - 1 10.0
    watermark 30
      b 20.0 30.0 - 2 20.0
      a - 4.0 3.0 5 20.0
      a 5.0 5.0 4.0 6 20.0
    watermark 60
    "#);
}

/// A row comes when the last row of its frames is there, or time has passed the frame.
#[tokio::test]
async fn calls_that_look_ahead() {
    let query = "SELECT device, v, lead(v) OVER (PARTITION BY device ORDER BY ts),
            count(*) OVER (PARTITION BY device ORDER BY ts RANGE BETWEEN CURRENT ROW AND INTERVAL '2 seconds' FOLLOWING)
        FROM readings";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
    watermark 5
      a 1.0 2.0 4
      a 2.0 3.0 3
    watermark 30
      b 10.0 20.0 1
      a 3.0 4.0 2
      a 4.0 - 2
      a - 5.0 1
    watermark 60
    "#);
}

#[tokio::test]
async fn the_first_row_of_each_key_and_window() {
    let query = "SELECT DISTINCT ON (device, window_end) device, v, window_end
        FROM TUMBLE(readings, ts, INTERVAL '5 seconds') ORDER BY device, window_end, ts";
    insta::assert_snapshot!(run(query, DISORDER).await, @r#"
    watermark 3
      a 1.0 05
      b 10.0 05
    watermark 5
      - 7.0 05
    watermark 30
      b 20.0 10
      a - 10
    watermark 60
    "#);
}

/// Two streams, the second with rows that nothing matches and one without a key.
const PAIRS: &str = "
    readings 1 a 1
    others 2 a 10
    readings 3 b 2
    watermark 3
    others 3 b 20
    others 3 b 21
    readings 4 - 3
    others 4 - 30
    watermark 5
    readings 7 a 4
    others 9 a 40
    watermark 8
    watermark 20
";

#[tokio::test]
async fn rows_near_each_other() {
    let query = "SELECT a.device, b.device AS other, a.v, b.v AS w FROM readings AS a FULL JOIN others AS b ON a.device = b.device
        AND a.ts BETWEEN b.ts - INTERVAL '1 second' AND b.ts + INTERVAL '1 second'";
    insta::assert_snapshot!(run(query, PAIRS).await, @r#"
    watermark 3
      a a 1.0 10.0
    watermark 5
      b b 2.0 20.0
      b b 2.0 21.0
    watermark 8
      - - 3.0 -
      - - - 30.0
    watermark 20
      a - 4.0 -
      - a - 40.0
    "#);
}

#[tokio::test]
async fn rows_of_one_window() {
    let query = "SELECT a.device, a.v, b.v AS w, a.window_end FROM TUMBLE(readings, ts, INTERVAL '5 seconds') AS a
        LEFT JOIN TUMBLE(others, ts, INTERVAL '5 seconds') AS b ON a.device = b.device AND a.window_start = b.window_start";
    insta::assert_snapshot!(run(query, PAIRS).await, @r#"
    watermark 3
      a 1.0 10.0 05
    watermark 5
      b 2.0 20.0 05
      b 2.0 21.0 05
      - 3.0 - 05
    watermark 8
    watermark 20
      a 4.0 40.0 10
    "#);
}

#[tokio::test]
async fn rows_with_the_latest_of_the_other_stream() {
    let query = "SELECT a.device, a.v, b.v AS w FROM readings AS a
        ASOF JOIN others AS b MATCH_CONDITION (a.ts >= b.ts) ON a.device = b.device";
    insta::assert_snapshot!(run(query, PAIRS).await, @r#"
    watermark 3
      a 1.0 -
    watermark 5
      b 2.0 21.0
      - 3.0 -
    watermark 8
      a 4.0 10.0
    watermark 20
    "#);
}

/// Keys come and go, among others that stay: whatever of that lies between two snapshots, nothing is lost and nothing comes back.
#[tokio::test]
async fn random_rows_of_keys_that_come_and_go() {
    let windows = "device, window_start, window_end, count(*), sum(v), max(v)";
    let group = "GROUP BY device, window_start, window_end";
    let queries = [
        format!("SELECT {windows} FROM SESSION(readings, ts, INTERVAL '3 seconds') {group}"),
        format!("SELECT {windows} FROM COUNT_WINDOW(readings, 3) {group}"),
        format!("SELECT {windows} FROM COUNT_WINDOW(readings, 4, 2) {group}"),
        format!("SELECT {windows} FROM STATE_WINDOW(readings, v > 6, v < 3) {group}"),
        "SELECT DISTINCT ON (device, window_end) device, v, window_end
            FROM TUMBLE(readings, ts, INTERVAL '4 seconds') ORDER BY device, window_end, ts"
            .to_owned(),
        "SELECT device, row_number() OVER w, sum(v) OVER w FROM readings WINDOW w AS (PARTITION BY device ORDER BY ts)"
            .to_owned(),
    ];
    for (seed, query) in (0..4_u64).flat_map(|seed| queries.iter().map(move |query| (seed, query))) {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut script, mut second) = (String::new(), 0);
        for _ in 0..60 {
            // The first two keys are there all the time, the others for a while.
            let key = match random.random_range(0..3) {
                0 => random.random_range(0..2),
                _ => 2 + second / 8 + random.random_range(0..3),
            };
            writeln!(script, "readings {second} k{key} {}", random.random_range(0..10)).unwrap();
            second += random.random_range(0..3);
            if random.random_range(0..4) == 0 {
                writeln!(script, "watermark {second}").unwrap();
            }
        }
        writeln!(script, "watermark {}", second + 10).unwrap();
        run(query, &script).await;
    }
}
