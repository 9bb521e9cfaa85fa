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
