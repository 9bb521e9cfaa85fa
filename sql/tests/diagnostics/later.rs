//! What the dialect has and is not built yet.

use super::found;

#[test]
fn later_statements() {
    insta::assert_snapshot!(found(r"CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');"), @r#"
    error[TC0909]: reference tables from delta are not supported yet
     --> p.sql:1:55
      |
    1 | CREATE TABLE t (x INT) WITH (location = 'x', format = 'delta');
      |                                                       ^^^^^^^
      = help: csv, json and parquet files are
    "#);
}
