//! What a stream cannot do.

use super::found;

#[test]
fn aggregate_without_window() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, avg(temperature) AS t FROM readings GROUP BY device_id;"), @r#"
    error[TC0307]: this aggregate of a stream would never be complete
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT device_id, avg(temperature) AS t FROM readings GROUP BY device_id;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: aggregate over a window: FROM TUMBLE(stream, ts, INTERVAL '10 seconds') … GROUP BY …, window_start, window_end
    "#);
}

#[test]
fn order_by_limit_distinct() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM readings ORDER BY ts;
INSERT INTO metrics SELECT * FROM readings LIMIT 5;
INSERT INTO metrics SELECT DISTINCT device_id FROM readings;"), @r#"
    error[TC0309]: ORDER BY over a stream would wait for its end
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT * FROM readings ORDER BY ts;
      |                                            ^^^^^
      = help: order the rows of a window, or order an ad-hoc query

    error[TC0310]: LIMIT over a stream would stop it for ever
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT * FROM readings LIMIT 5;
      |                                            ^^^^^
      = help: limit the rows of a window, or an ad-hoc query

    error[TC0311]: DISTINCT over a stream would remember every row
     --> p.sql:3:28
      |
    3 | INSERT INTO metrics SELECT DISTINCT device_id FROM readings;
      |                            ^^^^^^^^
      = help: GROUP BY the columns in a window
    "#);
}

#[test]
fn streams_joined() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT r.device_id FROM readings r JOIN plain p ON r.ts = p.at;
INSERT INTO metrics SELECT device_id FROM readings UNION SELECT device_id FROM readings;"), @r#"
    error[TC0342]: the stream "plain" has no watermark, and a join of streams goes by event time
     --> p.sql:1:45
      |
    1 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN plain p ON r.ts = p.at;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of plain

    error[TC0313]: UNION of streams would remember every row, to leave out those that come again
     --> p.sql:2:52
      |
    2 | INSERT INTO metrics SELECT device_id FROM readings UNION SELECT device_id FROM readings;
      |                                                    ^^^^^
      = help: write UNION ALL
    "#);
}

#[test]
fn union_with_a_table() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings UNION ALL SELECT device_id FROM devices;"), @r#"
    error[TC0313]: UNION with a stream is not supported yet
     --> p.sql:1:52
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings UNION ALL SELECT device_id FROM devices;
      |                                                    ^^^^^
      = help: INSERT both queries into one stream
    "#);
}

#[test]
fn no_stream() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM devices;
INSERT INTO metrics SELECT 1 AS one;
INSERT INTO metrics VALUES (1);"), @r#"
    error[TC0301]: this query reads no stream, so it would never emit anything
     --> p.sql:1:35
      |
    1 | INSERT INTO metrics SELECT * FROM devices;
      |                                   ^^^^^^^
      = help: name a stream in FROM; reference tables can be queried ad hoc

    error[TC0301]: this query reads no stream, so it would never emit anything
     --> p.sql:2:28
      |
    2 | INSERT INTO metrics SELECT 1 AS one;
      |                            ^^^^^^^^
      = help: name a stream in FROM; reference tables can be queried ad hoc

    error[TC0301]: this query reads no stream, so it would never emit anything
     --> p.sql:3:21
      |
    3 | INSERT INTO metrics VALUES (1);
      |                     ^^^^^^^^^^
      = help: name a stream in FROM; reference tables can be queried ad hoc
    "#);
}

#[test]
fn stream_in_subqueries() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings WHERE temperature > (SELECT max(temperature) FROM readings);
INSERT INTO metrics SELECT d.site FROM devices d LEFT JOIN readings r ON r.device_id = d.device_id;"), @r#"
    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:1:73
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings WHERE temperature > (SELECT max(temperature) FROM readings);
      |                                                                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time

    error[TC0305]: a Left join keeps table rows that no stream row matches, which is never known
     --> p.sql:2:50
      |
    2 | INSERT INTO metrics SELECT d.site FROM devices d LEFT JOIN readings r ON r.device_id = d.device_id;
      |                                                  ^^^^
      = help: use an inner join, or a left join with the stream on the left
    "#);
}

#[test]
fn grouping_sets() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, max(temperature) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY ROLLUP (device_id, window_end);"), @r#"
    error[TC0306]: grouping sets, ROLLUP and CUBE are not supported over a stream
     --> p.sql:1:117
      |
    1 | INSERT INTO metrics SELECT device_id, max(temperature) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY ROLLUP (device_id, window_end);
      |                                                                                                                     ^^^^^^
      = help: write one query per grouping
    "#);
}

#[test]
fn window_filtered_below() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, window_end, max(temperature) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') WHERE window_start > '2026-01-01' GROUP BY device_id, window_start, window_end;"), @r#"
    error[TC0308]: a window column in WHERE
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT device_id, window_end, max(temperature) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') WHERE window_start > '2026-01-01' GROUP BY device_id, window_start, window_end;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: below the aggregate a window's columns can only be grouped by; filter windows with HAVING
    "#);
}

#[test]
fn window_over_window() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE((SELECT ts, device_id FROM HOP(readings, ts, INTERVAL '1 second', INTERVAL '10 seconds')), ts, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0303]: a window function over another window function, with no aggregate between them
     --> p.sql:1:93
      |
    1 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE((SELECT ts, device_id FROM HOP(readings, ts, INTERVAL '1 second', INTERVAL '10 seconds')), ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                                             ^^^
      = help: GROUP BY the window columns of the one below, in a subquery or view
    "#);
}

#[test]
fn stream_in_an_expression() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT site FROM devices WHERE device_id IN (SELECT device_id FROM readings);"), @r#"
    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:1:66
      |
    1 | INSERT INTO metrics SELECT site FROM devices WHERE device_id IN (SELECT device_id FROM readings);
      |                                                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time
    "#);
}

#[test]
fn streams_in_further_expressions() {
    insta::assert_snapshot!(found(r"CREATE STREAM others (device_id TEXT, ts TIMESTAMP, v DOUBLE, WATERMARK FOR ts AS ts);
INSERT INTO metrics SELECT * FROM readings WHERE device_id IN (SELECT device_id FROM others);
INSERT INTO metrics SELECT * FROM readings AS r WHERE NOT EXISTS (SELECT 1 FROM others AS o WHERE o.device_id = r.device_id);
INSERT INTO metrics SELECT ts, (SELECT max(v) FROM others) AS m FROM readings;
INSERT INTO metrics SELECT ts FROM readings WHERE temperature > ALL (SELECT v FROM others);
INSERT INTO metrics SELECT r.ts FROM readings AS r JOIN others AS o ON r.device_id = o.device_id AND r.ts BETWEEN o.ts AND o.ts + INTERVAL '1 second'
    AND o.v > (SELECT avg(temperature) FROM readings);"), @r#"
    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:2:64
      |
    2 | INSERT INTO metrics SELECT * FROM readings WHERE device_id IN (SELECT device_id FROM others);
      |                                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time

    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:3:67
      |
    3 | INSERT INTO metrics SELECT * FROM readings AS r WHERE NOT EXISTS (SELECT 1 FROM others AS o WHERE o.device_id = r.device_id);
      |                                                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time

    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:4:33
      |
    4 | INSERT INTO metrics SELECT ts, (SELECT max(v) FROM others) AS m FROM readings;
      |                                 ^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time

    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:5:70
      |
    5 | INSERT INTO metrics SELECT ts FROM readings WHERE temperature > ALL (SELECT v FROM others);
      |                                                                      ^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time

    error[TC0304]: a subquery over a stream inside an expression has no end
     --> p.sql:7:16
      |
    7 |     AND o.v > (SELECT avg(temperature) FROM readings);
      |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: only reference tables can be read in such a subquery; JOIN a stream, with a bound in event time
    "#);
}

#[test]
fn set_operations() {
    insta::assert_snapshot!(found(r"CREATE STREAM others (device_id TEXT, ts TIMESTAMP, v DOUBLE, WATERMARK FOR ts AS ts);
INSERT INTO metrics SELECT device_id FROM readings UNION SELECT device_id FROM others;
INSERT INTO metrics SELECT device_id FROM readings EXCEPT SELECT device_id FROM devices;
INSERT INTO metrics SELECT device_id FROM readings INTERSECT SELECT device_id FROM others;"), @r#"
    error[TC0313]: UNION of streams would remember every row, to leave out those that come again
     --> p.sql:2:52
      |
    2 | INSERT INTO metrics SELECT device_id FROM readings UNION SELECT device_id FROM others;
      |                                                    ^^^^^
      = help: write UNION ALL

    error[TC0313]: EXCEPT and INTERSECT would remember every row of a stream
     --> p.sql:3:52
      |
    3 | INSERT INTO metrics SELECT device_id FROM readings EXCEPT SELECT device_id FROM devices;
      |                                                    ^^^^^^
      = help: JOIN what is to be compared: a reference table by its key, a stream with a bound in event time

    error[TC0313]: EXCEPT and INTERSECT would remember every row of a stream
     --> p.sql:4:52
      |
    4 | INSERT INTO metrics SELECT device_id FROM readings INTERSECT SELECT device_id FROM others;
      |                                                    ^^^^^^^^^
      = help: JOIN what is to be compared: a reference table by its key, a stream with a bound in event time
    "#);
}

#[test]
fn clocks_and_chance() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings WHERE ts > now() - INTERVAL '1 hour';
INSERT INTO metrics SELECT window_end, max(temperature + random()) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end, count(*) AS n FROM STATE_WINDOW(readings, temperature > 5, ts < current_timestamp) GROUP BY window_start, window_end;
CREATE VIEW named AS SELECT uuid() AS name, ts FROM readings;
INSERT INTO metrics SELECT name FROM named;
CREATE MATERIALIZED VIEW today AS SELECT device_id, ts FROM readings WHERE ts > current_date;
CREATE ALERT hot TO oncall KEY (device_id) RAISE WHEN ts > now() SUMMARY uuid()
    AS SELECT device_id, ts FROM readings;"), @r#"
    error[TC0318]: now() is not determined by the rows: after a restart it would be another
     --> p.sql:1:63
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings WHERE ts > now() - INTERVAL '1 hour';
      |                                                               ^^^
      = help: take the event time of the stream, or window_end, for a time; make other values of the row's columns

    error[TC0318]: random() is not determined by the rows: after a restart it would be another
     --> p.sql:2:58
      |
    2 | INSERT INTO metrics SELECT window_end, max(temperature + random()) AS m FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                          ^^^^^^
      = help: take the event time of the stream, or window_end, for a time; make other values of the row's columns

    error[TC0318]: now() is not determined by the rows: after a restart it would be another
     --> p.sql:3:104
      |
    3 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM STATE_WINDOW(readings, temperature > 5, ts < current_timestamp) GROUP BY window_start, window_end;
      |                                                                                                        ^^^^^^^^^^^^^^^^^
      = help: take the event time of the stream, or window_end, for a time; make other values of the row's columns

    error[TC0318]: uuid() is not determined by the rows: after a restart it would be another
     --> p.sql:5:28
      |
    5 | INSERT INTO metrics SELECT name FROM named;
      |                            ^^^^
      = help: take the event time of the stream, or window_end, for a time; make other values of the row's columns

    error[TC0318]: current_date() is not determined by the rows: after a restart it would be another
     --> p.sql:6:81
      |
    6 | CREATE MATERIALIZED VIEW today AS SELECT device_id, ts FROM readings WHERE ts > current_date;
      |                                                                                 ^^^^^^^^^^^^
      = help: take the event time of the stream, or window_end, for a time; make other values of the row's columns

    error[TC0318]: now() is not determined by the row: after a restart it would be another
     --> p.sql:7:55
      |
    7 | CREATE ALERT hot TO oncall KEY (device_id) RAISE WHEN ts > now() SUMMARY uuid()
      |                                                       ^^^^^^^^^^
      = help: take the time of the row, such as window_end

    error[TC0318]: uuid() is not determined by the row: after a restart it would be another
     --> p.sql:7:74
      |
    7 | CREATE ALERT hot TO oncall KEY (device_id) RAISE WHEN ts > now() SUMMARY uuid()
      |                                                                          ^^^^^^
      = help: take the time of the row, such as window_end
    "#);
}
