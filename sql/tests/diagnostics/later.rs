//! What the dialect has and is not built yet.

use super::found;

#[test]
fn later_windows() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM CUMULATE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', TIME ZONE 'Europe/Berlin') GROUP BY window_start, window_end;"), @r#"
    error[TC0901]: CUMULATE is not supported yet
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT window_end FROM CUMULATE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                            ^^^^^^^^
      = help: TUMBLE, HOP, SESSION, COUNT_WINDOW and STATE_WINDOW are

    error[TC0910]: windows aligned to a time zone are not supported yet
     --> p.sql:2:83
      |
    2 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', TIME ZONE 'Europe/Berlin') GROUP BY window_start, window_end;
      |                                                                                   ^^^^^^^^^
      = help: windows are aligned to UTC; an offset shifts them
    "#);
}

#[test]
fn later_statements() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT * FROM readings;
CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');"), @r#"
    error[TC0902]: materialized views are not supported yet
     --> p.sql:1:8
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT * FROM readings;
      |        ^^^^^^^^^^^^^^^^^
      = help: CREATE VIEW is inlined where it is used

    error[TC0906]: RAISE WHEN NO DATA FOR is not supported yet
     --> p.sql:2:37
      |
    2 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
      |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error[TC0909]: reference tables from delta are not supported yet
     --> p.sql:3:55
      |
    3 | CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');
      |                                                       ^^^^^^^
      = help: csv, json and parquet files are
    "#);
}

#[test]
fn later_clauses() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM readings EMIT ON UPDATE;
INSERT INTO metrics SELECT * FROM readings EMIT EVERY INTERVAL '1 second' ALLOW LATENESS INTERVAL '1 minute';
INSERT INTO metrics SELECT * FROM readings EMIT ON CLOSE;"), @r#"
    error[TC0903]: EMIT ON UPDATE is not supported yet
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT * FROM readings EMIT ON UPDATE;
      |                                            ^^^^^^^^^^^^^^
      = help: without it, a window's result is emitted once, when the window closes

    error[TC0903]: EMIT EVERY is not supported yet
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT * FROM readings EMIT EVERY INTERVAL '1 second' ALLOW LATENESS INTERVAL '1 minute';
      |                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: without it, a window's result is emitted once, when the window closes

    error[TC0904]: ALLOW LATENESS is not supported yet
     --> p.sql:2:75
      |
    2 | INSERT INTO metrics SELECT * FROM readings EMIT EVERY INTERVAL '1 second' ALLOW LATENESS INTERVAL '1 minute';
      |                                                                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: rows that come too late are kept and can be queried as late.<stream>

    error[TC0002]: expected EMIT ON WINDOW CLOSE, EMIT ON UPDATE or EMIT EVERY INTERVAL '…'
     --> p.sql:3:44
      |
    3 | INSERT INTO metrics SELECT * FROM readings EMIT ON CLOSE;
      |                                            ^^^^ found EMIT
    "#);
}

#[test]
fn later_columns() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT METADATA FROM 'key', ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second' PER x);"), @r#"
    error[TC0907]: METADATA FROM is not supported yet
     --> p.sql:1:24
      |
    1 | CREATE STREAM a (x INT METADATA FROM 'key', ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second' PER x);
      |                        ^^^^^^^^^^^^^^^^^^^

    error[TC0905]: watermarks per key are not supported yet
     --> p.sql:1:104
      |
    1 | CREATE STREAM a (x INT METADATA FROM 'key', ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second' PER x);
      |                                                                                                        ^^^^^
      = help: without PER, the watermark is kept per partition
    "#);
}

#[test]
fn asof_join() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN devices d MATCH_CONDITION (r.ts >= d.since) ON r.device_id = d.device_id;"), @r#"
    error[TC0908]: as-of joins are not supported yet
     --> p.sql:1:66
      |
    1 | INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN devices d MATCH_CONDITION (r.ts >= d.since) ON r.device_id = d.device_id;
      |                                                                  ^^^^^^^^^
      = help: a join with a reference table takes its current version
    "#);
}
