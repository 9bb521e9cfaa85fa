//! Types and columns of queries.

use super::found;

#[test]
fn not_grouped() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, status, avg(temperature) FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_end;"), @r#"
    error[TC0601]: 'readings.status' must appear in GROUP BY clause because it's not an aggregate expression
     --> p.sql:1:39
      |
    1 | INSERT INTO metrics SELECT device_id, status, avg(temperature) FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_end;
      |                                       ^^^^^^
      = help: either add 'readings.status' to GROUP BY clause, or use an aggregate function like ANY_VALUE(readings.status)
    "#);
}

#[test]
fn types_of_an_operator() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, temperature + status AS x FROM readings;
INSERT INTO metrics SELECT device_id FROM readings WHERE ts > 5.5;"), @r#"
    error[TC0602]: the operator + does not take DOUBLE and TEXT
     --> p.sql:1:39
      |
    1 | INSERT INTO metrics SELECT device_id, temperature + status AS x FROM readings;
      |                                       ^^^^^^^^^^^^^^^^^^^^
      = help: CAST(… AS type) converts between types

    error[TC0602]: the operator > does not take TIMESTAMP and DOUBLE
     --> p.sql:2:58
      |
    2 | INSERT INTO metrics SELECT device_id FROM readings WHERE ts > 5.5;
      |                                                          ^^^^^^^^
      = help: CAST(… AS type) converts between types
    "#);
}

#[test]
fn types_of_a_function() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, abs(status) AS x, round() AS y FROM readings;
INSERT INTO metrics SELECT window_end, avg(status) AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0602]: the function abs does not take (TEXT)
     --> p.sql:1:39
      |
    1 | INSERT INTO metrics SELECT device_id, abs(status) AS x, round() AS y FROM readings;
      |                                       ^^^^^^^^^^^
      = help: CAST(… AS type) converts between types

    error[TC0602]: the function round does not take ()
     --> p.sql:1:57
      |
    1 | INSERT INTO metrics SELECT device_id, abs(status) AS x, round() AS y FROM readings;
      |                                                         ^^^^^
      = help: CAST(… AS type) converts between types

    error[TC0602]: the function avg does not take (TEXT)
     --> p.sql:2:40
      |
    2 | INSERT INTO metrics SELECT window_end, avg(status) AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                        ^^^^^^^^^^^
      = help: CAST(… AS type) converts between types
    "#);
}

#[test]
fn arguments_of_a_sensor_function() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end, rate(status, ts) AS x, last(temperature) AS y FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end, x, locf(x, 1) OVER (ORDER BY x) AS y FROM (SELECT window_end, arg_max(temperature, pressure) AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end);
INSERT INTO metrics SELECT had_change(status) AS x FROM readings;"), @r#"
    error[TC0602]: the function rate does not take (TEXT, TIMESTAMP)
     --> p.sql:1:40
      |
    1 | INSERT INTO metrics SELECT window_end, rate(status, ts) AS x, last(temperature) AS y FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                        ^^^^^^^^^^^^^^^^
      = help: write rate(value, time)

    error[TC0602]: the function last does not take (DOUBLE)
     --> p.sql:1:63
      |
    1 | INSERT INTO metrics SELECT window_end, rate(status, ts) AS x, last(temperature) AS y FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                               ^^^^^^^^^^^^^^^^^
      = help: write last(value, time)

    error[TC0602]: the function locf does not take (DOUBLE, BIGINT)
     --> p.sql:2:43
      |
    2 | INSERT INTO metrics SELECT window_end, x, locf(x, 1) OVER (ORDER BY x) AS y FROM (SELECT window_end, arg_max(temperature, pressure) AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end);
      |                                           ^^^^^^^^^^
      = help: write locf(value)

    error[TC0104]: no function "had_change"
     --> p.sql:3:28
      |
    3 | INSERT INTO metrics SELECT had_change(status) AS x FROM readings;
      |                            ^^^^^^^^^^
      = help: did you mean "had_changed"?
    "#);
}

#[test]
fn constants_of_a_sensor_function() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT approx_percentile(temperature, 95) AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT ewma(temperature, ts, INTERVAL '1 month') AS x, zscore(DISTINCT pressure, ts) AS y FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT device_id, deadband(peak, -1) OVER (ORDER BY device_id) AS keep FROM (SELECT device_id, max(temperature) AS peak FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end);
INSERT INTO metrics SELECT window_end, CASE WHEN last(status, ts) = 'on' THEN integral(temperature, ts, 'linear') + approx_percentile(temperature, pressure) END AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0602]: approx_percentile(value, fraction [, relative error]) takes a fraction from 0 to 1, found 95
     --> p.sql:1:46
      |
    1 | INSERT INTO metrics SELECT approx_percentile(temperature, 95) AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                              ^^^^^^^^^^^

    error[TC0602]: ewma(value, time, time constant) takes a positive interval without months
     --> p.sql:2:33
      |
    2 | INSERT INTO metrics SELECT ewma(temperature, ts, INTERVAL '1 month') AS x, zscore(DISTINCT pressure, ts) AS y FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                 ^^^^^^^^^^^^^^^

    error[TC0602]: zscore does not take DISTINCT
     --> p.sql:2:92
      |
    2 | INSERT INTO metrics SELECT ewma(temperature, ts, INTERVAL '1 month') AS x, zscore(DISTINCT pressure, ts) AS y FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                                            ^^^^^^^^^^^^

    error[TC0602]: deadband(value, width) takes a number that is not negative, found -1
     --> p.sql:3:73
      |
    3 | INSERT INTO metrics SELECT device_id, deadband(peak, -1) OVER (ORDER BY device_id) AS keep FROM (SELECT device_id, max(temperature) AS peak FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end);
      |                                                                         ^^^^^^^^^

    error[TC0602]: approx_percentile(value, fraction [, relative error]) takes a constant where a column stands
     --> p.sql:4:135
      |
    4 | INSERT INTO metrics SELECT window_end, CASE WHEN last(status, ts) = 'on' THEN integral(temperature, ts, 'linear') + approx_percentile(temperature, pressure) END AS x FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                                                                                       ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn condition_that_is_none() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings WHERE temperature;"), @r#"
    error[TC0602]: WHERE takes a condition, found DOUBLE
     --> p.sql:1:58
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings WHERE temperature;
      |                                                          ^^^^^^^^^^^
      = help: compare it with something
    "#);
}

#[test]
fn having_and_join_conditions() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT r.device_id, window_end, max(temperature) AS peak
FROM TUMBLE(readings, ts, INTERVAL '1 minute') AS r JOIN devices AS d ON d.device_id = r.devce_id
GROUP BY r.device_id, window_end HAVING peak;"), @r#"
    error[TC0102]: no column "devce_id" in r
     --> p.sql:2:88
      |
    2 | FROM TUMBLE(readings, ts, INTERVAL '1 minute') AS r JOIN devices AS d ON d.device_id = r.devce_id
      |                                                                                        ^^^^^^^^^^
      = help: did you mean "device_id"?
    "#);
}

#[test]
fn insert_count() {
    insta::assert_snapshot!(found(r"INSERT INTO hourly SELECT device_id, ts FROM readings;
INSERT INTO metrics (a) SELECT device_id FROM readings;"), @r#"
    error[TC0603]: the query has 2 columns, "hourly" takes 4
     --> p.sql:1:27
      |
    1 | INSERT INTO hourly SELECT device_id, ts FROM readings;
      |                           ^^^^^^^^^^^^^
      = help: they are taken by position: device_id, ts, peak, n

    error[TC0603]: a sink has no columns of its own
     --> p.sql:2:22
      |
    2 | INSERT INTO metrics (a) SELECT device_id FROM readings;
      |                      ^
      = help: name the columns in the query, with AS
    "#);
}

#[test]
fn insert_type() {
    insta::assert_snapshot!(found(r"INSERT INTO hourly SELECT device_id, status, temperature, pressure FROM readings;"), @r#"
    error[TC0604]: "status" is of type TEXT, the column "ts" of "hourly" is TIMESTAMP
     --> p.sql:1:38
      |
    1 | INSERT INTO hourly SELECT device_id, status, temperature, pressure FROM readings;
      |                                      ^^^^^^
      = help: CAST(status AS TIMESTAMP) converts it

    error[TC0604]: "pressure" is of type DOUBLE, the column "n" of "hourly" is INTEGER
     --> p.sql:1:59
      |
    1 | INSERT INTO hourly SELECT device_id, status, temperature, pressure FROM readings;
      |                                                           ^^^^^^^^
      = help: CAST(pressure AS INTEGER) converts it
    "#);
}

#[test]
fn insert_null() {
    insta::assert_snapshot!(found(r"INSERT INTO hourly SELECT status, ts, temperature, 1 FROM readings;
INSERT INTO hourly (ts, peak) SELECT ts, temperature FROM readings;
INSERT INTO hourly (ts, peek, ts) SELECT ts, temperature, ts FROM readings;"), @r#"
    error[TC0605]: "status" may be NULL, the column "device_id" of "hourly" may not
     --> p.sql:1:27
      |
    1 | INSERT INTO hourly SELECT status, ts, temperature, 1 FROM readings;
      |                           ^^^^^^
      = help: COALESCE gives a value instead of NULL; or declare the column without NOT NULL

    error[TC0605]: the query has no column for "device_id", which may not be NULL
     --> p.sql:2:13
      |
    2 | INSERT INTO hourly (ts, peak) SELECT ts, temperature FROM readings;
      |             ^^^^^^

    error[TC0106]: the column ts stands twice
     --> p.sql:3:59
      |
    3 | INSERT INTO hourly (ts, peek, ts) SELECT ts, temperature, ts FROM readings;
      |                                                           ^^
      = help: give one of them another name with AS
    "#);
}

#[test]
fn ignored_modifiers() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM readings TABLESAMPLE (10 PERCENT);
INSERT INTO metrics SELECT * FROM readings FOR UPDATE;"), @r#"
    error[TC0606]: TABLESAMPLE would be ignored
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT * FROM readings TABLESAMPLE (10 PERCENT);
      |                                            ^^^^^^^^^^^
      = help: leave it out

    error[TC0606]: FOR would be ignored
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT * FROM readings FOR UPDATE;
      |                                            ^^^
      = help: leave it out
    "#);
}

#[test]
fn null_comparison() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings WHERE status = NULL;"), @r#"
    warning[TC0702]: a comparison with NULL is never true
     --> p.sql:1:58
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings WHERE status = NULL;
      |                                                          ^^^^^^^^^^^^^
      = help: write IS NULL or IS NOT NULL
    "#);
}

#[test]
fn aggregate_of_an_aggregate() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end, max(1 + count(*)) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end, max((SELECT count(*) FROM devices)) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT device_id, window_end, sum(count(*)) OVER (PARTITION BY device_id) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;"), @r#"
    error[TC0601]: an aggregate of an aggregate
     --> p.sql:1:48
      |
    1 | INSERT INTO metrics SELECT window_end, max(1 + count(*)) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                ^^^^^
      = help: take one in a subquery: SELECT max(n) FROM (SELECT count(*) AS n … GROUP BY …) …
    "#);
}

#[test]
fn order_within_an_aggregate() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end, first_value(temperature ORDER BY pressure) AS f FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0314]: ORDER BY inside first_value() over a stream
     --> p.sql:1:64
      |
    1 | INSERT INTO metrics SELECT window_end, first_value(temperature ORDER BY pressure) AS f FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                ^^^^^
      = help: first(value, time) and last(value, time) go by a time
    "#);
}
