//! Alerts against a batch engine: random streams (`common/readings.rs`) through alerts with random conditions over rows and windows,
//! and through those that watch for silence. DuckDB computes the rows that an alert looks at, what its conditions say of them,
//! and the stretches without a row; what is raised and cleared by that is told by definition. Whatever the batches and the
//! partitions, and, for conditions, whatever the crashes: what silence is after one depends on it (`absence.rs`).
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many, `THERMOCLINE_CRASH_EVERY=1` crashes at every operation;
//! `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeMap;

use common::crash_points::{Run, every, exact};
use common::duckdb::{all_seeds, answers, cells, seeds};
use common::readings::{Likeness, Reading, TABLE, batch, create, in_time, pieces, stored, table};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

const CASES: u64 = 8;
const CRASHED_CASES: u64 = 2;
const ALERTS: usize = 6;

/// What an alert looks at.
#[derive(Debug, Clone, Copy)]
enum Over {
    /// Each row, in the order in which its key's rows come.
    Rows,
    /// The windows of a key, of so many microseconds.
    Windows(i64),
    /// How long nothing came.
    Silence(i64),
}

#[derive(Debug, Clone, Copy)]
struct Alert {
    over: Over,
    keyed: bool,
    /// Whether rows whose `n` is 4 are left out.
    filtered: bool,
    raise: i64,
    clear: Option<i64>,
    hold_us: i64,
}

impl Alert {
    fn random(random: &mut StdRng) -> Self {
        let over = match random.random_range(0..4) {
            0 => Over::Rows,
            1 | 2 => Over::Windows([300_000, 1_000_000, 5_000_000][random.random_range(0..3)]),
            _ => Over::Silence([1, 200_000, 1_500_000, 6_000_000][random.random_range(0..4)]),
        };
        let raise = random.random_range(-100..100);
        Self {
            over,
            // Rows of all partitions have no order of their own.
            keyed: !matches!(over, Over::Silence(_)) || random.random_range(0..3) > 0,
            filtered: random.random_range(0..3) == 0,
            raise,
            clear: (random.random_range(0..2) == 0).then(|| raise - random.random_range(0..80)),
            hold_us: [0, 700_000, 3_000_000][random.random_range(0..3)],
        }
    }

    fn watches_silence(&self) -> bool {
        matches!(self.over, Over::Silence(_))
    }

    fn filter(&self) -> &str {
        if self.filtered { "WHERE n IS NULL OR n <> 4" } else { "" }
    }

    fn sql(&self, name: &str) -> String {
        let key = if self.keyed { "KEY (key)" } else { "" };
        let hold =
            if self.hold_us > 0 { format!("FOR INTERVAL '{} microseconds'", self.hold_us) } else { String::new() };
        let clear = self.clear.map_or(String::new(), |clear| format!("CLEAR WHEN v < {clear}"));
        let (rule, query) = match self.over {
            Over::Rows => (
                format!("{} {hold} {clear}", self.condition()),
                format!("SELECT key, ts, v FROM readings {}", self.filter()),
            ),
            Over::Windows(size_us) => (
                format!("{} {hold} {clear}", self.condition()),
                format!(
                    "SELECT key, window_end, max(v) AS v FROM TUMBLE(readings, ts, INTERVAL '{size_us} microseconds')
                     {} GROUP BY key, window_start, window_end",
                    self.filter()
                ),
            ),
            Over::Silence(us) => (
                format!("NO DATA FOR INTERVAL '{us} microseconds'"),
                format!("SELECT key, ts, v FROM readings {}", self.filter()),
            ),
        };
        format!("CREATE ALERT {name} TO screen {key} RAISE WHEN {rule} AS {query};\n")
    }

    fn condition(&self) -> String {
        format!("v > {}", self.raise)
    }

    /// Of conditions: what they say of each row that they are asked about, by key and in order; `r` has the rows that came.
    /// Of silence: what is raised and cleared before `end_us`; `r` has the rows in time.
    fn duckdb(&self, end_us: i64) -> String {
        let said = |key: &str, time: &str, value: &str| {
            let raises = format!("{value} > {}", self.raise);
            let clears = self.clear.map_or(format!("NOT ({raises})"), |clear| format!("{value} < {clear}"));
            format!("SELECT {key} AS key, {time} AS us, {raises} AS raises, {clears} AS clears")
        };
        let filter = self.filter();
        match self.over {
            Over::Rows => format!("{} FROM r {filter} ORDER BY key, seq", said("key", "ts", "v")),
            Over::Windows(size_us) => {
                let end = format!("ts - ((ts % {size_us}) + {size_us}) % {size_us} + {size_us}");
                format!("{} FROM r {filter} GROUP BY key, us ORDER BY key, us", said("key", &end, "max(v)"))
            }
            Over::Silence(us) => {
                let key = if self.keyed { "key" } else { "NULL::TEXT" };
                format!(
                    "WITH heard AS (
                        SELECT {key} AS key, ts, lead(ts) OVER (PARTITION BY {key} ORDER BY ts, seq) AS next FROM r {filter}
                     ), silent AS (
                        SELECT * FROM heard
                        WHERE next > ts + {us} OR next IS NULL AND ts + {us} < {end_us}
                     )
                     SELECT key, ts + {us} AS us, 'trigger' AS action FROM silent
                     UNION ALL SELECT key, next, 'resolve' FROM silent WHERE next IS NOT NULL
                     ORDER BY key, us, action DESC"
                )
            }
        }
    }

    fn keeps(&self, row: &Reading) -> bool {
        !self.filtered || row.count != Some(4)
    }

    /// Up to where time goes: past the last row that is heard, or further by the watermark that all rows make.
    fn end_us(&self, partitions: &[Vec<Reading>], delay_us: i64) -> i64 {
        let last = |rows: &[Reading]| rows.iter().map(|row| row.time_us).max();
        let watermark_us =
            partitions.iter().map(|rows| last(rows).map_or(i64::MIN, |last_us| last_us - delay_us)).min();
        let heard_us = in_time(partitions, delay_us, |row| self.keeps(row)).0.last().map(|row| row.time_us + 1);
        watermark_us.max(heard_us).unwrap()
    }

    /// The rows that count.
    fn counted<'a>(&self, partitions: &'a [Vec<Reading>], delay_us: i64) -> Vec<&'a Reading> {
        match self.over {
            Over::Rows => partitions.iter().flatten().collect(),
            Over::Silence(_) => in_time(partitions, delay_us, |_| true).0,
            Over::Windows(size_us) => {
                let mut rows = Vec::new();
                for partition in partitions {
                    let mut watermark_us = i64::MIN;
                    for row in partition {
                        let end_us = row.time_us.div_euclid(size_us) * size_us + size_us;
                        if end_us > watermark_us {
                            rows.push(row);
                        }
                        watermark_us = watermark_us.max(row.time_us - delay_us);
                    }
                }
                rows
            }
        }
    }

    /// What is raised and cleared: key, time, action.
    fn events(&self, answer: &[Value]) -> BTreeMap<String, Vec<Value>> {
        let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        if self.watches_silence() {
            for row in answer {
                events.entry(row[0].to_string()).or_default().push(json!([row[1], row[2]]));
            }
            return events;
        }
        let mut states: BTreeMap<String, State> = BTreeMap::new();
        for row in answer {
            let key = row[0].to_string();
            let (at_us, raises, clears) = (row[1].as_i64().unwrap(), row[2] == true, row[3] == true);
            let state = states.entry(key.clone()).or_default();
            let action = match *state {
                State::Raised if clears => {
                    *state = State::Idle;
                    Some("resolve")
                }
                State::Raised => None,
                State::Idle | State::HoldsSince(_) if !raises => {
                    *state = State::Idle;
                    None
                }
                State::Idle | State::HoldsSince(_) => {
                    let since_us = if let State::HoldsSince(us) = *state { us } else { at_us };
                    let is_raised = at_us - since_us >= self.hold_us;
                    *state = if is_raised { State::Raised } else { State::HoldsSince(since_us) };
                    is_raised.then_some("trigger")
                }
            };
            if let Some(action) = action {
                events.entry(key).or_default().push(json!([at_us, action]));
            }
        }
        events
    }
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Idle,
    HoldsSince(i64),
    Raised,
}

struct Case {
    seed: u64,
    delay_us: i64,
    rows: Vec<Reading>,
    alerts: Vec<Alert>,
}

impl Case {
    fn random(seed: u64, rows: std::ops::Range<i64>, alerts: usize, silence: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = Likeness::random(&mut random, rows);
        let rows = stream.readings(&mut random);
        let any = std::iter::repeat_with(|| Alert::random(&mut random));
        let alerts = any.filter(|alert| silence || !alert.watches_silence()).take(alerts).collect();
        Self { seed, delay_us: stream.delay_us, rows, alerts }
    }

    fn sql(&self, partitions: u32) -> String {
        let sink = "CREATE SINK screen WITH (connector = 'console');\n".to_owned();
        let alerts = self.alerts.iter().enumerate().map(|(n, alert)| alert.sql(&format!("a{n}")));
        [create("readings", self.delay_us, "", partitions), sink].into_iter().chain(alerts).collect()
    }

    async fn run(&self, partitions: u32, pieces: &[&[Reading]]) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(40).unsynced();
        for rows in pieces {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            pipeline.settle().await;
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let events = (0..self.alerts.len()).map(|n| read(&log, &log.stream(&format!("alerts.a{n}")).unwrap()));
        let events = events.map(|batches| batches.iter().flat_map(cells).collect()).collect();
        Outcome { partitions: stored(&log, "readings"), events }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per alert, rows as JSON arrays.
    events: Vec<Vec<Value>>,
}

/// Time and action of events, by key.
fn by_key(events: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events {
        let key: Value = serde_json::from_str(event[6].as_str().unwrap()).unwrap();
        by_key.entry(key["key"].to_string()).or_default().push(json!([event[0], event[3]]));
    }
    by_key
}

const DUCKDB: &str = r#"
load("r", request["columns"], request["rows"])
found = db.execute(request["query"]).fetchall()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_raised_and_cleared_agrees_with_duckdb_whatever_the_batches_and_partitions() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    let cases: Vec<Case> = seeds(CASES).into_iter().map(|seed| Case::random(seed, 1..400, ALERTS, true)).collect();
    for case in &cases {
        for partitions in [1, 3] {
            let whole = case.run(partitions, &[&case.rows]).await;
            let split = case.run(partitions, &pieces(case.seed + u64::from(partitions), &case.rows)).await;
            for (n, alert) in case.alerts.iter().enumerate() {
                let place = format!("seed {}, {partitions} partitions, alert {n}: {alert:?}", case.seed);
                match alert.over {
                    // Which of several partitions is read first is not the rows' to say.
                    Over::Rows => assert_eq!(by_key(&split.events[n]), by_key(&whole.events[n]), "{place}"),
                    _ => assert_eq!(split.events[n], whole.events[n], "{place}"),
                }
                let counted = alert.counted(&whole.partitions, case.delay_us);
                let query = alert.duckdb(alert.end_us(&whole.partitions, case.delay_us));
                requests.push(json!({ "columns": TABLE, "rows": table(&counted), "query": query }));
                checks.push((place, alert, by_key(&whole.events[n])));
            }
        }
    }
    let answers = answers(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut told = [0, 0];
    for ((place, alert, found), answer) in checks.iter().zip(&answers) {
        assert_eq!(*found, alert.events(answer), "{place}");
        told[usize::from(alert.watches_silence())] += found.values().map(Vec::len).sum::<usize>();
    }
    assert!(!all_seeds() || told.iter().all(|told| *told > 500), "{told:?} events");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_told_once_with_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 30..60, 3, false);
        // Of several partitions each key's events have their order.
        let sql = case.sql(1 + seed as u32 % 2 * 2);
        let run = Run::new(&sql, 20, &[("readings", pieces(seed, &case.rows))]);
        let outcome = |log: &Log| {
            let of_alert = |n: usize| {
                let batches = read(log, &log.stream(&format!("alerts.a{n}")).unwrap());
                let keys: Vec<Value> = batches.iter().flat_map(cells).map(|event| event[6].clone()).collect();
                let mut events: Vec<(String, String)> =
                    keys.iter().map(ToString::to_string).zip(exact(&batches)).collect();
                events.sort_by(|a, b| a.0.cmp(&b.0));
                events
            };
            (0..case.alerts.len()).map(of_alert).collect::<Vec<_>>()
        };
        run.crash_everywhere(seed, every(29), &format!("seed {seed}\n{sql}"), &outcome).await;
    }
}
