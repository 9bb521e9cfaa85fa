//! When results are emitted.

use super::found;

#[test]
fn clauses_that_cannot_be_read() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM readings EMIT ON CLOSE;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON UPDATE EMIT EVERY INTERVAL '1 second';
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT EVERY INTERVAL '0 seconds';
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT EVERY 10;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end ALLOW LATENESS INTERVAL '1 month';
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end ALLOW LATENESS INTERVAL '-1 second' EMIT ON WINDOW CLOSE;"), @r#"
    error[TC0002]: expected EMIT ON WINDOW CLOSE, EMIT ON UPDATE or EMIT EVERY INTERVAL '…'
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT * FROM readings EMIT ON CLOSE;
      |                                            ^^^^ found EMIT

    error[TC0005]: EMIT is given twice
     --> p.sql:2:135
      |
    2 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON UPDATE EMIT EVERY INTERVAL '1 second';
      |                                                                                                                                       ^^^^

    error[TC0406]: the interval of EMIT EVERY must be longer than nothing
     --> p.sql:3:120
      |
    3 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT EVERY INTERVAL '0 seconds';
      |                                                                                                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error[TC0406]: EMIT EVERY takes a fixed interval
     --> p.sql:4:120
      |
    4 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT EVERY 10;
      |                                                                                                                        ^^^^^^^^^^^^^
      = help: write it like INTERVAL '10 seconds'

    error[TC0406]: ALLOW LATENESS takes a fixed interval
     --> p.sql:5:120
      |
    5 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end ALLOW LATENESS INTERVAL '1 month';
      |                                                                                                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: write it in days, hours, minutes or seconds

    error[TC0406]: the interval of ALLOW LATENESS cannot be negative
     --> p.sql:6:120
      |
    6 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end ALLOW LATENESS INTERVAL '-1 second' EMIT ON WINDOW CLOSE;
      |                                                                                                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn queries_without_a_result_to_update() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM readings EMIT ON UPDATE;
INSERT INTO metrics SELECT device_id FROM readings ALLOW LATENESS INTERVAL '1 minute';
INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM SESSION(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end ALLOW LATENESS INTERVAL '1 minute';
CREATE VIEW v AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON UPDATE;
INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end HAVING count(*) > 1 EMIT ON UPDATE;
INSERT INTO metrics SELECT window_end, device_id, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end ORDER BY n LIMIT 3 ALLOW LATENESS INTERVAL '1 minute';
INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end HAVING count(*) > 1 ALLOW LATENESS INTERVAL '0 minutes';"), @r#"
    error[TC0407]: only the results of TUMBLE, HOP and CUMULATE are emitted early or corrected
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT * FROM readings EMIT ON UPDATE;
      |                                            ^^^^^^^^^^^^^^
      = help: leave the clause out: every row is emitted at once

    error[TC0407]: only the results of TUMBLE, HOP and CUMULATE are emitted early or corrected
     --> p.sql:2:52
      |
    2 | INSERT INTO metrics SELECT device_id FROM readings ALLOW LATENESS INTERVAL '1 minute';
      |                                                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: leave the clause out: every row is emitted at once

    error[TC0407]: only the results of TUMBLE, HOP and CUMULATE are emitted early or corrected
     --> p.sql:3:158
      |
    3 | INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM SESSION(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end ALLOW LATENESS INTERVAL '1 minute';
      |                                                                                                                                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: leave the clause out: results are emitted once, when they are complete

    error[TC0407]: a view emits nothing by itself
     --> p.sql:4:132
      |
    4 | CREATE VIEW v AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON UPDATE;
      |                                                                                                                                    ^^^^^^^^^^^^^^
      = help: write the clause behind the query that reads the view

    error[TC0409]: a row that was emitted cannot be taken back when it changes
     --> p.sql:5:135
      |
    5 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end HAVING count(*) > 1 EMIT ON UPDATE;
      |                                                                                                                                       ^^^^^^
      = help: with early or corrected results, leave HAVING, ORDER BY, LIMIT, DISTINCT and further aggregates out

    error[TC0409]: a row that was emitted cannot be taken back when it changes
     --> p.sql:6:168
      |
    6 | INSERT INTO metrics SELECT window_end, device_id, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end ORDER BY n LIMIT 3 ALLOW LATENESS INTERVAL '1 minute';
      |                                                                                                                                                                        ^^^^^
      = help: with early or corrected results, leave HAVING, ORDER BY, LIMIT, DISTINCT and further aggregates out
    "#);
}

#[test]
fn targets_that_take_no_updates() {
    insta::assert_snapshot!(found(r"INSERT INTO hourly SELECT device_id, window_end, max(temperature), 1 FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY device_id, window_start, window_end ALLOW LATENESS INTERVAL '1 minute';
INSERT INTO hourly SELECT device_id, window_end, max(temperature), 1 FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY device_id, window_start, window_end EMIT EVERY INTERVAL '1 minute';
CREATE ALERT a TO oncall RAISE WHEN n > 1 AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY window_start, window_end EMIT ON UPDATE;"), @r#"
    error[TC0408]: a stream keeps every row that was written to it: results that are emitted early or corrected cannot go there
     --> p.sql:1:160
      |
    1 | INSERT INTO hourly SELECT device_id, window_end, max(temperature), 1 FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY device_id, window_start, window_end ALLOW LATENESS INTERVAL '1 minute';
      |                                                                                                                                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: send them to a sink that takes updates, such as influxdb

    error[TC0408]: a stream keeps every row that was written to it: results that are emitted early or corrected cannot go there
     --> p.sql:2:160
      |
    2 | INSERT INTO hourly SELECT device_id, window_end, max(temperature), 1 FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY device_id, window_start, window_end EMIT EVERY INTERVAL '1 minute';
      |                                                                                                                                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: send them to a sink that takes updates, such as influxdb

    error[TC0408]: an alert takes a window when it is closed: early results come and go with the order of arrival
     --> p.sql:3:158
      |
    3 | CREATE ALERT a TO oncall RAISE WHEN n > 1 AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY window_start, window_end EMIT ON UPDATE;
      |                                                                                                                                                              ^^^^^^^^^^^^^^
      = help: leave EMIT out; smaller windows raise earlier
    "#);
}

#[test]
fn updates_that_can_be_taken() {
    let found = found(
        r"INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end ALLOW LATENESS INTERVAL '1' HOUR EMIT ON UPDATE;
INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT EVERY INTERVAL '1 second';
INSERT INTO hourly SELECT device_id, window_end, max(temperature), 1 FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY device_id, window_start, window_end EMIT ON WINDOW CLOSE;
CREATE ALERT a TO oncall RAISE WHEN n > 1 AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY window_start, window_end ALLOW LATENESS INTERVAL '1 minute';",
    );
    assert_eq!(found, "");
}
