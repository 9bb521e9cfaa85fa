//! Ad-hoc queries.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::memory::MemorySchemaProvider;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::executor::block_on;
use thermocline_sql::{EventTimes, SourceFile, plan_query, register_dialect, session_config, timestamp_type};

fn session() -> SessionContext {
    let ctx = SessionContext::new_with_config(session_config());
    let event_times = EventTimes::default();
    event_times.insert("readings", Some(1));
    register_dialect(&ctx, event_times);
    let schema = Arc::new(Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", timestamp_type(), false),
        Field::new("temperature", DataType::Float64, true),
    ]));
    let table = || Arc::new(MemTable::try_new(Arc::clone(&schema), vec![vec![]]).unwrap());
    ctx.register_table("readings", table()).unwrap();
    let late = Arc::new(MemorySchemaProvider::new());
    ctx.catalog("datafusion").unwrap().register_schema("late", late).unwrap();
    ctx.register_table("late.readings", table()).unwrap();
    ctx
}

/// The plan, or the findings.
fn planned(sql: &str) -> String {
    match block_on(plan_query(&session(), sql)) {
        Ok(plan) => plan.to_string(),
        Err(found) => {
            let files = [SourceFile { path: "query".into(), text: sql.to_owned() }];
            found.iter().map(|diagnostic| diagnostic.render(&files)).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn queries_plan() {
    insta::assert_snapshot!(planned("SELECT device_id, avg(temperature) FROM readings GROUP BY 1 ORDER BY 1 LIMIT 3;"), @r#"
    Limit: skip=0, fetch=3
      Sort: readings.device_id ASC NULLS LAST
        Projection: readings.device_id, avg(readings.temperature)
          Aggregate: groupBy=[[readings.device_id]], aggr=[[avg(readings.temperature)]]
            TableScan: readings
    "#);
    insta::assert_snapshot!(planned("SELECT count(*) FROM late.readings"), @r#"
    Projection: count(Int64(1)) AS count(*)
      Aggregate: groupBy=[[]], aggr=[[count(Int64(1))]]
        TableScan: late.readings
    "#);
    insta::assert_snapshot!(planned("SELECT window_start, max(temperature) AS peak FROM HOP(TABLE readings, DESCRIPTOR(ts), SLIDE => INTERVAL '5 seconds', SIZE => INTERVAL '1' MINUTE) AS r WHERE r.device_id = 'a' GROUP BY window_start"), @r#"
    Projection: r.window_start, max(r.temperature) AS peak
      Aggregate: groupBy=[[r.window_start]], aggr=[[max(r.temperature)]]
        Filter: r.device_id = Utf8("a")
          SubqueryAlias: r
            Window: HOP 5 s / 60 s by readings.ts
              TableScan: readings
    "#);
    insta::assert_snapshot!(planned("SELECT '${HOME}'"), @r#"
    Projection: Utf8("${HOME}")
      EmptyRelation: rows=1
    "#);
    insta::assert_snapshot!(planned("SELECT CAST('2026-01-01' AS TIMESTAMP) AS t"), @r#"
    Projection: CAST(Utf8("2026-01-01") AS Timestamp(µs, "UTC")) AS t
      EmptyRelation: rows=1
    "#);
}

#[test]
fn filters_and_columns_go_below_a_window() {
    let ctx = session();
    let sql = "SELECT window_end, count(*) FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '1 minute')
        WHERE device_id = 'a' AND window_end < '2026-01-01' GROUP BY window_end";
    let plan = block_on(plan_query(&ctx, sql)).unwrap();
    let plan = ctx.state().optimize(&plan).unwrap();
    insta::assert_snapshot!(plan, @r#"
    Projection: readings.window_end, count(Int64(1)) AS count(*)
      Aggregate: groupBy=[[readings.window_end]], aggr=[[count(Int64(1))]]
        Filter: readings.window_end < TimestampMicrosecond(1767225600000000, Some("UTC"))
          Projection: readings.window_end
            Window: HOP 5 s / 60 s by readings.ts
              Filter: readings.device_id = Utf8("a")
                TableScan: readings projection=[device_id, ts]
    "#);
}

#[test]
fn planning_can_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let ctx = session();
    assert!(block_on(is_send(plan_query(&ctx, "SELECT 1"))).is_ok());
}

#[test]
fn statements_that_read_plan() {
    for sql in ["EXPLAIN SELECT * FROM readings", "SHOW TABLES", "DESCRIBE readings", "SHOW COLUMNS FROM readings"] {
        let ctx = session();
        assert!(block_on(plan_query(&ctx, sql)).is_ok(), "{sql}: {}", planned(sql));
    }
}

#[test]
fn mistakes_are_shown() {
    insta::assert_snapshot!(planned("SELECT temprature, rond(1) FROM reedings"), @r#"
    error[TC0104]: no function "rond"
     --> query:1:20
      |
    1 | SELECT temprature, rond(1) FROM reedings
      |                    ^^^^
      = help: did you mean "round"?

    error[TC0101]: no table "reedings"
     --> query:1:33
      |
    1 | SELECT temprature, rond(1) FROM reedings
      |                                 ^^^^^^^^
      = help: did you mean "readings"?
    "#);
    insta::assert_snapshot!(planned("SELECT temprature FROM TUMBLE(readings, ts, INTERVAL '1 month')"), @r#"
    error[TC0402]: the size of TUMBLE is not a fixed interval
     --> query:1:45
      |
    1 | SELECT temprature FROM TUMBLE(readings, ts, INTERVAL '1 month')
      |                                             ^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: add a TIME ZONE, such as TIME ZONE 'UTC', for those of its calendar
    "#);
    insta::assert_snapshot!(planned("SELECT temprature FROM late.reading"), @r#"
    error[TC0101]: no table "late.reading"
     --> query:1:24
      |
    1 | SELECT temprature FROM late.reading
      |                        ^^^^^^^^^^^^
      = help: did you mean "late.readings"?
    "#);
    insta::assert_snapshot!(planned("SELECT\n  temprature,\n  temperature + device_id\nFROM readings\nWHERE x > 1"), @r#"
    error[TC0102]: no column "temprature" in readings
     --> query:2:3
      |
    2 |   temprature,
      |   ^^^^^^^^^^
      = help: did you mean "temperature"?

    error[TC0602]: the operator + does not take DOUBLE and TEXT
     --> query:3:3
      |
    3 |   temperature + device_id
      |   ^^^^^^^^^^^^^^^^^^^^^^^
      = help: CAST(… AS type) converts between types

    error[TC0102]: no column "x" in readings
     --> query:5:7
      |
    5 | WHERE x > 1
      |       ^
      = help: there is device_id, ts and temperature
    "#);
    insta::assert_snapshot!(planned("SELECT * FROM readings WHERE"), @r#"
    error[TC0002]: the statement ends too early
     --> query:1:29
      |
    1 | SELECT * FROM readings WHERE
      |                             ^ expected: an expression, found: ;
    "#);
    insta::assert_snapshot!(planned("SELECT * FROM readings readings readings"), @r#"
    error[TC0002]: syntax error at "readings"
     --> query:1:33
      |
    1 | SELECT * FROM readings readings readings
      |                                 ^^^^^^^^ expected: the end of the query, found: readings
    "#);
}

#[test]
fn only_one_query_is_run() {
    insta::assert_snapshot!(planned("DROP TABLE readings"), @r#"
    error[TC0801]: only queries can be run ad hoc
     --> query:1:1
      |
    1 | DROP TABLE readings
      | ^^^^
      = help: SELECT, EXPLAIN, DESCRIBE and SHOW TABLES read; everything else belongs into the pipeline's files
    "#);
    insta::assert_snapshot!(planned("SELECT 1; SELECT 2"), @r#"
    error[TC0802]: one statement at a time can be run
     --> query:1:11
      |
    1 | SELECT 1; SELECT 2
      |           ^^^^^^^^
    "#);
    insta::assert_snapshot!(planned("SELECT 1 INTO x"), @r#"
    error[TC0801]: only queries can be run ad hoc
     --> query:1:1
      |
    1 | SELECT 1 INTO x
      | ^^^^^^
      = help: SELECT, EXPLAIN, DESCRIBE and SHOW TABLES read; everything else belongs into the pipeline's files
    "#);
    for sql in [
        "INSERT INTO readings SELECT * FROM readings",
        "CREATE TABLE x AS SELECT 1",
        "COPY readings TO '/tmp/x.csv'",
        "EXPLAIN INSERT INTO readings SELECT * FROM readings",
        "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "TRUNCATE readings",
        "DELETE FROM readings",
        "PREPARE p AS SELECT 1",
        "",
        ";;",
    ] {
        let found = block_on(plan_query(&session(), sql)).unwrap_err();
        assert_eq!(found[0].code, "TC0801", "{sql}: {found:?}");
    }
}

#[test]
fn windows_that_rows_make() {
    insta::assert_snapshot!(planned("SELECT device_id, window_end, avg(temperature) FROM STATE_WINDOW(readings, temperature > 80, temperature < 70) WHERE device_id <> 'x' GROUP BY device_id, window_end"), @r#"
    Projection: readings.device_id, readings.window_end, avg(readings.temperature)
      KeyedWindow: STATE_WINDOW aggr=[[avg(c1)]]
        Projection: readings.device_id AS c0, readings.temperature AS c1, get_field(readings.window_end, Utf8("mark")) AS c2, get_field(readings.window_end, Utf8("time")) AS __time
          Filter: readings.device_id != Utf8("x")
            Projection: readings.device_id, readings.ts, readings.temperature, named_struct(Utf8("time"), readings.ts, Utf8("mark"), CASE WHEN readings.temperature > CAST(Int64(80) AS Float64) AND readings.temperature < CAST(Int64(70) AS Float64) THEN TimestampMicrosecond(3, Some("UTC")) WHEN readings.temperature > CAST(Int64(80) AS Float64) THEN TimestampMicrosecond(1, Some("UTC")) WHEN readings.temperature < CAST(Int64(70) AS Float64) THEN TimestampMicrosecond(2, Some("UTC")) ELSE TimestampMicrosecond(0, Some("UTC")) END) AS window_start, named_struct(Utf8("time"), readings.ts, Utf8("mark"), CASE WHEN readings.temperature > CAST(Int64(80) AS Float64) AND readings.temperature < CAST(Int64(70) AS Float64) THEN TimestampMicrosecond(3, Some("UTC")) WHEN readings.temperature > CAST(Int64(80) AS Float64) THEN TimestampMicrosecond(1, Some("UTC")) WHEN readings.temperature < CAST(Int64(70) AS Float64) THEN TimestampMicrosecond(2, Some("UTC")) ELSE TimestampMicrosecond(0, Some("UTC")) END) AS window_end, named_struct(Utf8("time"), readings.ts, Utf8("mark"), CASE WHEN readings.temperature > CAST(Int64(80) AS Float64) AND readings.temperature < CAST(Int64(70) AS Float64) THEN TimestampMicrosecond(3, Some("UTC")) WHEN readings.temperature > CAST(Int64(80) AS Float64) THEN TimestampMicrosecond(1, Some("UTC")) WHEN readings.temperature < CAST(Int64(70) AS Float64) THEN TimestampMicrosecond(2, Some("UTC")) ELSE TimestampMicrosecond(0, Some("UTC")) END) AS window_time
              TableScan: readings
    "#);
    insta::assert_snapshot!(planned("SELECT * FROM SESSION(readings, ts, INTERVAL '5 seconds')"), @r#"
    error[TC0316]: the windows of this function depend on other rows, so a row by itself has none
     --> query:1:15
      |
    1 | SELECT * FROM SESSION(readings, ts, INTERVAL '5 seconds')
      |               ^^^^^^^
      = help: aggregate over them: GROUP BY a key, window_start, window_end
    "#);
    insta::assert_snapshot!(planned("SELECT count(*) FROM (SELECT * FROM COUNT_WINDOW(readings, 5) LIMIT 3) GROUP BY window_end"), @r#"
    error[TC0308]: between this window and the aggregate over it stands more than WHERE, columns and joins
     --> query:1:37
      |
    1 | SELECT count(*) FROM (SELECT * FROM COUNT_WINDOW(readings, 5) LIMIT 3) GROUP BY window_end
      |                                     ^^^^^^^^^^^^
      = help: aggregate the window in a subquery, and go on above it
    "#);
    let explained = planned("EXPLAIN SELECT count(*) FROM COUNT_WINDOW(readings, 5) GROUP BY window_end");
    assert!(explained.contains("KeyedWindow: COUNT_WINDOW 5 rows"), "{explained}");
}
