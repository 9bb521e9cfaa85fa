//! Materialized views, what reads them, and windows over windows.

use super::found;

/// Windows of a minute that stay, and windows that are brought up to date.
const VIEWS: &str = "CREATE MATERIALIZED VIEW minutes AS SELECT device_id, window_start, window_end, count(*) AS n
FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;
CREATE MATERIALIZED VIEW so_far AS SELECT device_id, window_end, count(*) AS n
FROM TUMBLE(readings, ts, INTERVAL '1 day') GROUP BY device_id, window_start, window_end EMIT ON UPDATE;
";

fn found_above(text: &str) -> String {
    found(&format!("{VIEWS}{text}"))
}

#[test]
fn sound_views() {
    assert_eq!(
        found_above(
            r"INSERT INTO metrics SELECT * FROM so_far;
CREATE MATERIALIZED VIEW hours WITH (retention = '30 days') AS SELECT window_end, sum(n) AS n
FROM TUMBLE(minutes, window_start, INTERVAL '1 hour') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW named AS SELECT m.device_id, d.site, m.window_end, m.n
FROM (SELECT device_id, window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end) AS m
JOIN devices AS d ON d.device_id = m.device_id;
CREATE MATERIALIZED VIEW once AS SELECT device_id, ts, temperature FROM readings QUALIFY row_number() OVER (PARTITION BY device_id, ts ORDER BY ts) = 1;
CREATE ALERT busy TO oncall KEY (device_id) RAISE WHEN n > 3 AS SELECT device_id, window_end, n FROM minutes;"
        ),
        ""
    );
}

#[test]
fn no_option() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v WITH (retain = '7 days') AS SELECT * FROM readings;"), @r#"
    error[TC0202]: no option "retain"
     --> p.sql:1:34
      |
    1 | CREATE MATERIALIZED VIEW v WITH (retain = '7 days') AS SELECT * FROM readings;
      |                                  ^^^^^^
      = help: there is retention
    "#);
}

#[test]
fn no_view_after_materialized() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED v AS SELECT * FROM readings;"), @r#"
    error[TC0002]: expected VIEW
     --> p.sql:1:21
      |
    1 | CREATE MATERIALIZED v AS SELECT * FROM readings;
      |                     ^ found v
    "#);
}

#[test]
fn key_column_is_missing() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;"), @r#"
    error[TC0350]: rows of this view are known by "device_id", which is not among its columns
     --> p.sql:1:38
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;
      |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add device_id to the columns
    "#);
}

#[test]
fn window_is_missing() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT device_id, window_start, count(*) AS n
FROM CUMULATE(readings, ts, INTERVAL '1 hour', INTERVAL '1 day') GROUP BY device_id, window_start, window_end;"), @r#"
    error[TC0350]: rows of this view are known by "window_end", which is not among its columns
     --> p.sql:1:38
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT device_id, window_start, count(*) AS n
      |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add window_end to the columns
    "#);
}

#[test]
fn rows_become_several() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT m.device_id, m.window_end, d.since
FROM (SELECT device_id, window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end) AS m
JOIN devices AS d ON d.site = m.device_id;"), @r#"
    error[TC0351]: above its aggregate, this query makes several rows of one: nothing tells them apart
     --> p.sql:1:38
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT m.device_id, m.window_end, d.since
      |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: join a table by its PRIMARY KEY, or below the aggregate
    "#);
}

#[test]
fn union_of_windows() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS
SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end
UNION ALL
SELECT window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY window_start, window_end;"), @r#"
    error[TC0351]: rows of several queries have no common key in one view
     --> p.sql:3:1
      |
    3 | UNION ALL
      | ^^^^^
      = help: give each query a view of its own, and a plain view UNION ALL over them
    "#);
}

#[test]
fn reading_rows_that_are_replaced() {
    insta::assert_snapshot!(found_above(r"INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(so_far, window_end, INTERVAL '1 hour') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT * FROM so_far WHERE n > 3;
CREATE MATERIALIZED VIEW again AS SELECT * FROM so_far;
CREATE ALERT busy TO oncall KEY (device_id) RAISE WHEN n > 3 AS SELECT device_id, window_end, n FROM so_far;"), @r#"
    error[TC0352]: rows of "so_far" are emitted early or corrected: here the earlier ones would count too
     --> p.sql:5:59
      |
    5 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(so_far, window_end, INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                                           ^^^^^^
      = help: leave EMIT and ALLOW LATENESS out of the view, send its rows straight to a sink, or query it ad hoc

    error[TC0409]: a row that was emitted cannot be taken back when it changes
     --> p.sql:6:42
      |
    6 | INSERT INTO metrics SELECT * FROM so_far WHERE n > 3;
      |                                          ^^^^^
      = help: with early or corrected results, leave HAVING, ORDER BY, LIMIT, DISTINCT and further aggregates out

    error[TC0352]: rows of "so_far" are emitted early or corrected: here the earlier ones would count too
     --> p.sql:7:49
      |
    7 | CREATE MATERIALIZED VIEW again AS SELECT * FROM so_far;
      |                                                 ^^^^^^
      = help: leave EMIT and ALLOW LATENESS out of the view, send its rows straight to a sink, or query it ad hoc

    error[TC0352]: rows of "so_far" are emitted early or corrected: here the earlier ones would count too
     --> p.sql:8:102
      |
    8 | CREATE ALERT busy TO oncall KEY (device_id) RAISE WHEN n > 3 AS SELECT device_id, window_end, n FROM so_far;
      |                                                                                                      ^^^^^^
      = help: leave EMIT and ALLOW LATENESS out of the view, send its rows straight to a sink, or query it ad hoc
    "#);
}

#[test]
fn writing_into_a_view() {
    insta::assert_snapshot!(found_above(r"INSERT INTO minutes SELECT device_id, ts, ts AS e, 1 FROM readings;"), @r#"
    error[TC0109]: "minutes" is a materialized view: rows cannot be written to it
     --> p.sql:5:13
      |
    5 | INSERT INTO minutes SELECT device_id, ts, ts AS e, 1 FROM readings;
      |             ^^^^^^^
      = help: INSERT INTO takes a stream or a sink
    "#);
}

#[test]
fn name_twice() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW readings AS SELECT * FROM plain;"), @r#"
    error[TC0105]: the name "readings" is declared twice
     --> p.sql:1:26
      |
    1 | CREATE MATERIALIZED VIEW readings AS SELECT * FROM plain;
      |                          ^^^^^^^^
      = help: it is declared first at base.sql:1
    "#);
}

#[test]
fn views_in_a_circle() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW a AS SELECT window_end, count(*) AS n FROM TUMBLE(b, window_end, INTERVAL '1 hour') GROUP BY window_start, window_end;
CREATE VIEW b AS SELECT * FROM a;"), @r#"
    error[TC0107]: the view "a" depends on itself
     --> p.sql:1:26
      |
    1 | CREATE MATERIALIZED VIEW a AS SELECT window_end, count(*) AS n FROM TUMBLE(b, window_end, INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                          ^

    error[TC0107]: the view "b" depends on itself
     --> p.sql:2:13
      |
    2 | CREATE VIEW b AS SELECT * FROM a;
      |             ^
    "#);
}

#[test]
fn a_stream_that_feeds_its_view() {
    insta::assert_snapshot!(found_above(r"INSERT INTO readings SELECT device_id, window_end, 1.0, 2.0, 'x' FROM minutes;"), @r#"
    error[TC0107]: the stream "readings" is written from its own rows
     --> p.sql:5:13
      |
    5 | INSERT INTO readings SELECT device_id, window_end, 1.0, 2.0, 'x' FROM minutes;
      |             ^^^^^^^^
      = help: every row would make another one, for ever
    "#);
}

#[test]
fn no_such_table() {
    insta::assert_snapshot!(found_above(r"CREATE MATERIALIZED VIEW v AS SELECT * FROM minute;"), @r#"
    error[TC0101]: no stream, table or view "minute"
     --> p.sql:5:45
      |
    5 | CREATE MATERIALIZED VIEW v AS SELECT * FROM minute;
      |                                             ^^^^^^
      = help: did you mean "minutes"?
    "#);
}

#[test]
fn emit_without_a_window() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT * FROM readings EMIT ON UPDATE;"), @r#"
    error[TC0407]: only the results of TUMBLE, HOP and CUMULATE are emitted early or corrected
     --> p.sql:1:54
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT * FROM readings EMIT ON UPDATE;
      |                                                      ^^^^^^^^^^^^^^
      = help: leave the clause out: every row is emitted at once
    "#);
}

#[test]
fn not_the_time_of_a_view() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT device_id, window_end, max(ts) AS last_at FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;
INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(v, last_at, INTERVAL '1 hour') GROUP BY window_start, window_end;"), @r#"
    error[TC0404]: "last_at" is not a time of the view "v"
     --> p.sql:2:69
      |
    2 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(v, last_at, INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                                                     ^^^^^^^
      = help: go by window_end
    "#);
}

#[test]
fn not_the_time_of_the_windows_below() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE((SELECT max(ts) AS last_at, window_end AS e FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end), last_at, INTERVAL '1 hour') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE((SELECT window_start AS s FROM SESSION(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end), s, INTERVAL '1 hour') GROUP BY window_start, window_end;"), @r#"
    error[TC0404]: "last_at" is not a time of the windows below
     --> p.sql:1:193
      |
    1 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE((SELECT max(ts) AS last_at, window_end AS e FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end), last_at, INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                                                                                                                                                                                 ^^^^^^^
      = help: go by window_time or window_end or window_start

    error[TC0404]: "s" does not say how far the windows below have got
     --> p.sql:2:97
      |
    2 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE((SELECT window_start AS s FROM SESSION(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end), s, INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                                                                                 ^^^^^^^
      = help: go by window_time or window_end of the windows below
    "#);
}
