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

    error[TC0302]: this query reads streams more than once: readings, readings
     --> p.sql:2:21
      |
    2 | INSERT INTO metrics SELECT device_id FROM readings UNION SELECT device_id FROM readings;
      |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: two streams can be joined, and UNION ALL of queries INSERTed; for more, INSERT each part into a stream of its own
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
    error[TC0302]: this query reads streams more than once: readings, readings
     --> p.sql:1:43
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings WHERE temperature > (SELECT max(temperature) FROM readings);
      |                                           ^^^^^^^^
      = help: two streams can be joined, and UNION ALL of queries INSERTed; for more, INSERT each part into a stream of its own

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
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT site FROM devices WHERE device_id IN (SELECT device_id FROM readings);
      |                            ^^^^
      = help: only reference tables can be read in such a subquery
    "#);
}
