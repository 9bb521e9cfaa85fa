//! Alerts.

use super::found;

#[test]
fn alert_conditions() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN temperature SEVERITY 5 SUMMARY temperature AS SELECT * FROM readings;
CREATE ALERT b TO oncall RAISE WHEN temprature > 5 CLEAR WHEN max(temperature) < 5 AS SELECT * FROM readings;
CREATE ALERT c TO oncall RAISE WHEN temperature > 5 SUMMARY upper(rond(1)) AS SELECT * FROM readings;"), @r#"
    error[TC0501]: expected a condition, found an expression of type DOUBLE
     --> p.sql:1:37
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature SEVERITY 5 SUMMARY temperature AS SELECT * FROM readings;
      |                                     ^^^^^^^^^^^
      = help: compare it with something

    error[TC0502]: expected text, found an expression of type BIGINT
     --> p.sql:1:58
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature SEVERITY 5 SUMMARY temperature AS SELECT * FROM readings;
      |                                                          ^
      = help: CAST(… AS TEXT) makes text of it

    error[TC0502]: expected text, found an expression of type DOUBLE
     --> p.sql:1:68
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature SEVERITY 5 SUMMARY temperature AS SELECT * FROM readings;
      |                                                                    ^^^^^^^^^^^
      = help: CAST(… AS TEXT) makes text of it

    error[TC0102]: no column "temprature" in readings
     --> p.sql:2:37
      |
    2 | CREATE ALERT b TO oncall RAISE WHEN temprature > 5 CLEAR WHEN max(temperature) < 5 AS SELECT * FROM readings;
      |                                     ^^^^^^^^^^
      = help: did you mean "temperature"?

    error[TC0505]: an alert looks at one row of its query at a time
     --> p.sql:2:63
      |
    2 | CREATE ALERT b TO oncall RAISE WHEN temprature > 5 CLEAR WHEN max(temperature) < 5 AS SELECT * FROM readings;
      |                                                               ^^^^^^^^^^^^^^^^^^^^
      = help: aggregates, window functions and subqueries belong into the query

    error[TC0104]: no function "rond"
     --> p.sql:3:67
      |
    3 | CREATE ALERT c TO oncall RAISE WHEN temperature > 5 SUMMARY upper(rond(1)) AS SELECT * FROM readings;
      |                                                                   ^^^^
      = help: did you mean "round"?
    "#);
}

#[test]
fn alert_expression_types() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN temperature > status || 'x' SEVERITY CASE WHEN temperature THEN 'critical' END AS SELECT * FROM readings;"), @r#"
    error[TC0602]: the operator > does not take DOUBLE and TEXT
     --> p.sql:1:37
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature > status || 'x' SEVERITY CASE WHEN temperature THEN 'critical' END AS SELECT * FROM readings;
      |                                     ^^^^^^^^^^^^^^^^^^^^
      = help: CAST(… AS type) converts between types

    error[TC0602]: WHEN takes a condition, found DOUBLE
     --> p.sql:1:84
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature > status || 'x' SEVERITY CASE WHEN temperature THEN 'critical' END AS SELECT * FROM readings;
      |                                                                                    ^^^^^^^^^^^
      = help: CAST(… AS type) converts between types
    "#);
}

#[test]
fn alert_key() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall KEY (device, status, status) RAISE WHEN temperature > 5 AS SELECT * FROM readings;"), @r#"
    error[TC0503]: no column "device" in the alert's query
     --> p.sql:1:31
      |
    1 | CREATE ALERT a TO oncall KEY (device, status, status) RAISE WHEN temperature > 5 AS SELECT * FROM readings;
      |                               ^^^^^^
      = help: did you mean "device_id"?

    error[TC0106]: the column "status" is named twice
     --> p.sql:1:47
      |
    1 | CREATE ALERT a TO oncall KEY (device, status, status) RAISE WHEN temperature > 5 AS SELECT * FROM readings;
      |                                               ^^^^^^
    "#);
}

#[test]
fn alert_time() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN temperature > 5 AS SELECT device_id, temperature FROM readings;
CREATE ALERT b TO oncall RAISE WHEN peak > 5 AS
SELECT max(temperature) AS peak FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0504]: the query of the alert "a" has no time column
     --> p.sql:1:56
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature > 5 AS SELECT device_id, temperature FROM readings;
      |                                                        ^^^^^^
      = help: add the stream's event time, the column of its WATERMARK FOR, to the columns of the query

    error[TC0504]: the query of the alert "b" has no time column
     --> p.sql:3:1
      |
    3 | SELECT max(temperature) AS peak FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      | ^^^^^^
      = help: add window_end to the columns of the query
    "#);
}

#[test]
fn alert_hold() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN temperature > 5 FOR INTERVAL '-5 seconds' AS SELECT * FROM readings;
CREATE ALERT b TO oncall RAISE WHEN temperature > 5 FOR INTERVAL '1 month' AS SELECT * FROM readings;
CREATE ALERT c TO oncall RAISE WHEN temperature > 5 FOR 30 AS SELECT * FROM readings;"), @r#"
    error[TC0506]: FOR cannot be negative
     --> p.sql:1:57
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN temperature > 5 FOR INTERVAL '-5 seconds' AS SELECT * FROM readings;
      |                                                         ^^^^^^^^^^^^^^^^^^^^^
      = help: write it like INTERVAL '30 seconds'

    error[TC0506]: FOR takes a fixed interval
     --> p.sql:2:57
      |
    2 | CREATE ALERT b TO oncall RAISE WHEN temperature > 5 FOR INTERVAL '1 month' AS SELECT * FROM readings;
      |                                                         ^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: write it in days, hours, minutes or seconds

    error[TC0506]: FOR takes a fixed interval
     --> p.sql:3:57
      |
    3 | CREATE ALERT c TO oncall RAISE WHEN temperature > 5 FOR 30 AS SELECT * FROM readings;
      |                                                         ^^
      = help: write it like INTERVAL '10 seconds'
    "#);
}
