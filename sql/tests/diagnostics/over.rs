//! `OVER` on a stream.

use super::found;

#[test]
fn order() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, lag(temperature) OVER (PARTITION BY device_id) AS a FROM readings;
INSERT INTO metrics SELECT device_id, lag(temperature) OVER (PARTITION BY device_id ORDER BY ts DESC) AS a FROM readings;
INSERT INTO metrics SELECT device_id, lag(temperature) OVER (ORDER BY ts, device_id) AS a FROM readings;
INSERT INTO metrics SELECT count(*) OVER (ORDER BY at) AS a FROM plain;"), @"");
}

#[test]
fn unbounded() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, median(temperature) OVER (PARTITION BY device_id ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, count(DISTINCT status) OVER (ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, sum(temperature) OVER (ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS a FROM readings;"), @"");
}

#[test]
fn endless() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, ntile(4) OVER (ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, sum(temperature) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS a FROM readings;"), @"");
}

#[test]
fn functions() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, count(*) OVER (ORDER BY ts GROUPS 2 PRECEDING) AS a FROM readings;
INSERT INTO metrics SELECT device_id, lag(temperature) IGNORE NULLS OVER (ORDER BY ts) AS a FROM readings;
INSERT INTO metrics SELECT device_id, count(*) OVER (ORDER BY ts RANGE INTERVAL '1 month' PRECEDING) AS a FROM readings;"), @"");
}

#[test]
fn nested() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT ts, count(*) OVER (ORDER BY ts) AS a FROM (SELECT ts, lag(ts) OVER (ORDER BY ts) AS b FROM readings) WHERE b < ts;
INSERT INTO metrics SELECT device_id, lead(ts) OVER (ORDER BY ts) AS a, lead(ts) OVER (PARTITION BY device_id ORDER BY ts) AS b FROM readings;
INSERT INTO metrics SELECT a, count(*) AS n FROM (SELECT row_number() OVER (ORDER BY ts) AS a FROM readings) GROUP BY a;"), @"");
}

#[test]
fn first_rows_without_a_bound() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, ts FROM (SELECT *, row_number() OVER (PARTITION BY device_id ORDER BY ts) AS rn FROM readings) WHERE rn = 1;
INSERT INTO metrics SELECT DISTINCT ON (device_id) device_id, ts FROM readings;"), @"");
}

#[test]
fn a_named_window_is_not_extended() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, count(*) OVER (w ORDER BY ts) AS a FROM readings WINDOW w AS (PARTITION BY device_id);"), @"");
}
