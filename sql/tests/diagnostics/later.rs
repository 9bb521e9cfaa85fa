//! What the dialect has and is not built yet.

use super::found;

#[test]
fn later_statements() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');"), @r#"
    error[TC0906]: RAISE WHEN NO DATA FOR is not supported yet
     --> p.sql:1:37
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
      |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error[TC0909]: reference tables from delta are not supported yet
     --> p.sql:2:55
      |
    2 | CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');
      |                                                       ^^^^^^^
      = help: csv, json and parquet files are
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
