//! What the dialect has and is not built yet.

use super::found;

#[test]
fn later_statements() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT * FROM readings;
CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');"), @r#"
    error[TC0902]: materialized views are not supported yet
     --> p.sql:1:8
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT * FROM readings;
      |        ^^^^^^^^^^^^^^^^^
      = help: CREATE VIEW is inlined where it is used

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
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT METADATA FROM 'key', ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second');"), @r#"
    error[TC0907]: METADATA FROM is not supported yet
     --> p.sql:1:24
      |
    1 | CREATE STREAM a (x INT METADATA FROM 'key', ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second');
      |                        ^^^^^^^^^^^^^^^^^^^
    "#);
}
