//! What the dialect has and is not built yet.

use super::found;

#[test]
fn later_statements() {
    insta::assert_snapshot!(found(r"CREATE MATERIALIZED VIEW v AS SELECT * FROM readings;
CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');"), @r#"
    error[TC0902]: materialized views are not supported yet
     --> p.sql:1:8
      |
    1 | CREATE MATERIALIZED VIEW v AS SELECT * FROM readings;
      |        ^^^^^^^^^^^^^^^^^
      = help: CREATE VIEW is inlined where it is used

    error[TC0906]: RAISE WHEN NO DATA FOR is not supported yet
     --> p.sql:2:37
      |
    2 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
      |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error[TC0909]: reference tables from delta are not supported yet
     --> p.sql:3:55
      |
    3 | CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');
      |                                                       ^^^^^^^
      = help: csv, json and parquet files are
    "#);
}

#[test]
fn later_columns() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second' PER x);"), @r#"
    error[TC0905]: watermarks per key are not supported yet
     --> p.sql:1:84
      |
    1 | CREATE STREAM a (x INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second' PER x);
      |                                                                                    ^^^^^
      = help: without PER, the watermark is kept per partition
    "#);
}
