//! `OVER` on a stream.

use super::found;

#[test]
fn order() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, lag(temperature) OVER (PARTITION BY device_id) AS a FROM readings;
INSERT INTO metrics SELECT device_id, lag(temperature) OVER (PARTITION BY device_id ORDER BY ts DESC) AS a FROM readings;
INSERT INTO metrics SELECT device_id, lag(temperature) OVER (ORDER BY ts, device_id) AS a FROM readings;
INSERT INTO metrics SELECT count(*) OVER (ORDER BY at) AS a FROM plain;"), @r#"
    error[TC0330]: OVER on a stream goes by event time, and this one has no ORDER BY
     --> p.sql:1:56
      |
    1 | INSERT INTO metrics SELECT device_id, lag(temperature) OVER (PARTITION BY device_id) AS a FROM readings;
      |                                                        ^^^^
      = help: write OVER (PARTITION BY … ORDER BY ts), ts being the event time of the stream

    error[TC0330]: OVER on a stream takes its rows by event time, ascending, and by nothing else
     --> p.sql:2:56
      |
    2 | INSERT INTO metrics SELECT device_id, lag(temperature) OVER (PARTITION BY device_id ORDER BY ts DESC) AS a FROM readings;
      |                                                        ^^^^
      = help: write ORDER BY ts, ts being the event time of the stream, unchanged; rows of one time stand as they came

    error[TC0330]: OVER on a stream takes its rows by event time, ascending, and by nothing else
     --> p.sql:3:56
      |
    3 | INSERT INTO metrics SELECT device_id, lag(temperature) OVER (ORDER BY ts, device_id) AS a FROM readings;
      |                                                        ^^^^
      = help: write ORDER BY ts, ts being the event time of the stream, unchanged; rows of one time stand as they came

    error[TC0330]: OVER goes by event time, and stream "plain" has none
     --> p.sql:4:37
      |
    4 | INSERT INTO metrics SELECT count(*) OVER (ORDER BY at) AS a FROM plain;
      |                                     ^^^^
      = help: declare it: WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
    "#);
}

#[test]
fn unbounded() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, median(temperature) OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, count(DISTINCT status) OVER (ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, sum(temperature) OVER (ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS a FROM readings;"), @r#"
    error[TC0331]: median(…) from the first row of the key on would keep every row
     --> p.sql:1:59
      |
    1 | INSERT INTO metrics SELECT device_id, median(temperature) OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
      |                                                           ^^^^
      = help: bound the frame: ROWS BETWEEN 99 PRECEDING AND CURRENT ROW, or RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW

    error[TC0331]: count(DISTINCT …) from the first row of the key on would keep every row
     --> p.sql:2:62
      |
    2 | INSERT INTO metrics SELECT device_id, count(DISTINCT status) OVER (ORDER BY ts) AS a FROM readings;
      |                                                              ^^^^
      = help: bound the frame: ROWS BETWEEN 99 PRECEDING AND CURRENT ROW, or RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW

    error[TC0331]: a frame from the first row of the key to another than the current one (sum) would keep every row
     --> p.sql:3:56
      |
    3 | INSERT INTO metrics SELECT device_id, sum(temperature) OVER (ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS a FROM readings;
      |                                                        ^^^^
      = help: bound the frame: ROWS BETWEEN 99 PRECEDING AND CURRENT ROW, or RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW
    "#);
}

#[test]
fn endless() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, ntile(4) OVER (ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, sum(temperature) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS a FROM readings;"), @r#"
    error[TC0332]: ntile() needs all rows of the key, and a stream has no last one
     --> p.sql:1:48
      |
    1 | INSERT INTO metrics SELECT device_id, ntile(4) OVER (ORDER BY ts) AS a FROM readings;
      |                                                ^^^^
      = help: end the frame at CURRENT ROW or a bounded FOLLOWING, or use it above a windowed aggregate

    error[TC0332]: a frame up to UNBOUNDED FOLLOWING needs all rows of the key, and a stream has no last one
     --> p.sql:2:56
      |
    2 | INSERT INTO metrics SELECT device_id, sum(temperature) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS a FROM readings;
      |                                                        ^^^^
      = help: end the frame at CURRENT ROW or a bounded FOLLOWING, or use it above a windowed aggregate
    "#);
}

#[test]
fn functions() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, count(*) OVER (ORDER BY ts GROUPS 2 PRECEDING) AS a FROM readings;
INSERT INTO metrics SELECT device_id, lag(temperature) IGNORE NULLS OVER (ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, count(*) OVER (ORDER BY ts RANGE INTERVAL '1 month' PRECEDING) AS a FROM readings;"), @r#"
    error[TC0333]: a frame of GROUPS cannot run over a stream
     --> p.sql:1:48
      |
    1 | INSERT INTO metrics SELECT device_id, count(*) OVER (ORDER BY ts GROUPS 2 PRECEDING) AS a FROM readings;
      |                                                ^^^^
      = help: use ROWS or RANGE

    error[TC0333]: lag() with IGNORE NULLS would keep rows without a bound
     --> p.sql:2:69
      |
    2 | INSERT INTO metrics SELECT device_id, lag(temperature) IGNORE NULLS OVER (ORDER BY ts) AS a FROM readings;
      |                                                                     ^^^^
      = help: last_value(v) IGNORE NULLS OVER (… ROWS BETWEEN 9 PRECEDING AND 1 PRECEDING) looks back as far as it says

    error[TC0333]: this bound of a frame cannot run over a stream
     --> p.sql:3:48
      |
    3 | INSERT INTO metrics SELECT device_id, count(*) OVER (ORDER BY ts RANGE INTERVAL '1 month' PRECEDING) AS a FROM readings;
      |                                                ^^^^
      = help: write a number of ROWS, or RANGE with a fixed INTERVAL without months
    "#);
}

#[test]
fn nested() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT ts, count(*) OVER (ORDER BY ts) AS a FROM (SELECT ts, lag(ts) OVER (ORDER BY ts) AS b FROM readings) WHERE b < ts;
INSERT INTO metrics SELECT device_id, lead(ts) OVER (ORDER BY ts) AS a, lead(ts) OVER (PARTITION BY device_id ORDER BY ts) AS b FROM readings;
INSERT INTO metrics SELECT a, count(*) AS n FROM (SELECT row_number() OVER (ORDER BY ts) AS a FROM readings) GROUP BY a;"), @r#"
    error[TC0334]: OVER below another OVER or a windowed aggregate
     --> p.sql:1:41
      |
    1 | INSERT INTO metrics SELECT ts, count(*) OVER (ORDER BY ts) AS a FROM (SELECT ts, lag(ts) OVER (ORDER BY ts) AS b FROM readings) WHERE b < ts;
      |                                         ^^^^
      = help: INSERT its rows into a stream of their own, and go on from there

    error[TC0334]: calls that look ahead with different PARTITION BY in one query
     --> p.sql:2:48
      |
    2 | INSERT INTO metrics SELECT device_id, lead(ts) OVER (ORDER BY ts) AS a, lead(ts) OVER (PARTITION BY device_id ORDER BY ts) AS b FROM readings;
      |                                                ^^^^
      = help: let one of them look ahead, or write two queries

    error[TC0317]: above OVER every row runs by itself: there is no set of rows to sort, limit or aggregate
     --> p.sql:3:28
      |
    3 | INSERT INTO metrics SELECT a, count(*) AS n FROM (SELECT row_number() OVER (ORDER BY ts) AS a FROM readings) GROUP BY a;
      |                            ^^^^^^^^^^^^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window
    "#);
}

#[test]
fn first_rows_without_a_bound() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, ts FROM (SELECT *, row_number() OVER (PARTITION BY device_id ORDER BY ts) AS rn FROM readings) WHERE rn = 1;
INSERT INTO metrics SELECT DISTINCT ON (device_id) device_id, ts FROM readings;"), @r#"
    error[TC0335]: the first rows of each key: every key would be remembered for ever
     --> p.sql:1:71
      |
    1 | INSERT INTO metrics SELECT device_id, ts FROM (SELECT *, row_number() OVER (PARTITION BY device_id ORDER BY ts) AS rn FROM readings) WHERE rn = 1;
      |                                                                       ^^^^
      = help: bound it in time: FROM TUMBLE(stream, ts, INTERVAL '1 hour') … PARTITION BY key, window_start, window_end; or PARTITION BY key, ts for rows that were sent twice

    error[TC0335]: the first rows of each key: every key would be remembered for ever
     --> p.sql:2:28
      |
    2 | INSERT INTO metrics SELECT DISTINCT ON (device_id) device_id, ts FROM readings;
      |                            ^^^^^^^^
      = help: bound it in time: FROM TUMBLE(stream, ts, INTERVAL '1 hour') … PARTITION BY key, window_start, window_end; or PARTITION BY key, ts for rows that were sent twice
    "#);
}

#[test]
fn a_named_window_is_not_extended() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, count(*) OVER (w ORDER BY ts) AS a FROM readings WINDOW w AS (PARTITION BY device_id);"), @r#"
    error[TC0606]: the window "w" would be ignored: a named window cannot be extended
     --> p.sql:1:54
      |
    1 | INSERT INTO metrics SELECT device_id, count(*) OVER (w ORDER BY ts) AS a FROM readings WINDOW w AS (PARTITION BY device_id);
      |                                                      ^
      = help: write out its PARTITION BY and ORDER BY
    "#);
}

#[test]
fn row_functions() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, swinging_door(temperature, ts, 1) OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, locf(temperature) IGNORE NULLS OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, rate(temperature, ts + INTERVAL '1 second') OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, had_changed(status) OVER (PARTITION BY device_id ORDER BY ts) AS a, rate(temperature, ts) OVER (ORDER BY ts) AS b FROM readings;"), @r#"
    error[TC0333]: swinging_door(), which looks at the row after, cannot run over a stream
     --> p.sql:1:73
      |
    1 | INSERT INTO metrics SELECT device_id, swinging_door(temperature, ts, 1) OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
      |                                                                         ^^^^
      = help: deadband(value, width) keeps rows by the value alone

    error[TC0602]: locf does not take IGNORE NULLS
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT device_id, locf(temperature) IGNORE NULLS OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
      |                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error[TC0331]: rate() from the first row of the key on, by another time than the stream's, would keep every row
     --> p.sql:3:83
      |
    3 | INSERT INTO metrics SELECT device_id, rate(temperature, ts + INTERVAL '1 second') OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
      |                                                                                   ^^^^
      = help: give it the event time as its second argument, or bound the frame: RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW
    "#);
}
