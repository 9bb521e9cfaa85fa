//! Mistakes in the text: words, clauses, variables.

use super::found;

#[test]
fn open_string() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT 'abc FROM readings;"), @r#"
    error[TC0001]: this text does not end
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT 'abc FROM readings;
      |                            ^ unterminated string literal
      = help: close the quote or comment
    "#);
}

#[test]
fn syntax_error_in_a_query() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings WHERE temperature > > 5;"), @r#"
    error[TC0002]: syntax error at ">"
     --> p.sql:1:72
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings WHERE temperature > > 5;
      |                                                                        ^ expected: an expression, found: >
    "#);
}

#[test]
fn statement_ends_too_early() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM"), @r#"
    error[TC0002]: the statement ends too early
     --> p.sql:1:42
      |
    1 | INSERT INTO metrics SELECT device_id FROM
      |                                          ^ expected: identifier, found: ;
    "#);
}

#[test]
fn missing_semicolon() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings
INSERT INTO metrics SELECT status FROM readings;"), @r#"
    error[TC0002]: expected ";" before the next statement
     --> p.sql:2:1
      |
    2 | INSERT INTO metrics SELECT status FROM readings;
      | ^^^^^^
    "#);
}

#[test]
fn unknown_statement() {
    insta::assert_snapshot!(found(r"UPDATE readings SET a = 1;
SELECT 1;
CREATE STREEM x (a INT);"), @r#"
    error[TC0003]: a pipeline has no such statement
     --> p.sql:1:1
      |
    1 | UPDATE readings SET a = 1;
      | ^^^^^^ found UPDATE
      = help: a pipeline has CREATE STREAM, TABLE, VIEW, SINK or ALERT, and INSERT INTO … SELECT

    error[TC0003]: a pipeline has no such statement
     --> p.sql:2:1
      |
    2 | SELECT 1;
      | ^^^^^^ found SELECT
      = help: say where its rows go: INSERT INTO target SELECT …, or run it with `thermocline sql`

    error[TC0003]: a pipeline cannot create this
     --> p.sql:3:8
      |
    3 | CREATE STREEM x (a INT);
      |        ^^^^^^ found STREEM
      = help: did you mean "STREAM"?
    "#);
}

#[test]
fn two_syntax_errors() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT,, y INT);
CREATE SINK b WITH (connector 'console');
INSERT INTO metrics SELECT nope FROM readings;"), @r#"
    error[TC0002]: expected a column's name, WATERMARK FOR or PRIMARY KEY
     --> p.sql:1:24
      |
    1 | CREATE STREAM a (x INT,, y INT);
      |                        ^ found ,

    error[TC0002]: expected "=" after the option's name
     --> p.sql:2:31
      |
    2 | CREATE SINK b WITH (connector 'console');
      |                               ^^^^^^^^^ found 'console'

    error[TC0102]: no column "nope" in readings
     --> p.sql:3:28
      |
    3 | INSERT INTO metrics SELECT nope FROM readings;
      |                            ^^^^
      = help: there is device_id, ts, temperature, pressure and status
    "#);
}

#[test]
fn unset_variable() {
    insta::assert_snapshot!(found(r"CREATE SINK a WITH (connector = 'influxdb', url = 'http://${HOST}/', org = ${ORG}, bucket = '${1X}');"), @r#"
    error[TC0004]: the environment variable HOST is not set
     --> p.sql:1:51
      |
    1 | CREATE SINK a WITH (connector = 'influxdb', url = 'http://${HOST}/', org = ${ORG}, bucket = '${1X}');
      |                                                   ^^^^^^^^^^^^^^^^^
      = help: give a default with ${NAME:-default}, or set the variable

    error[TC0004]: the environment variable ORG is not set
     --> p.sql:1:76
      |
    1 | CREATE SINK a WITH (connector = 'influxdb', url = 'http://${HOST}/', org = ${ORG}, bucket = '${1X}');
      |                                                                            ^^^^^^
      = help: give a default with ${NAME:-default}, or set the variable

    error[TC0004]: expected the name of a variable in ${…}, found "1X"
     --> p.sql:1:93
      |
    1 | CREATE SINK a WITH (connector = 'influxdb', url = 'http://${HOST}/', org = ${ORG}, bucket = '${1X}');
      |                                                                                             ^^^^^^^
      = help: give a default with ${NAME:-default}, or set the variable
    "#);
}

#[test]
fn clause_twice_and_missing() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall TO oncall AS SELECT * FROM readings;
CREATE ALERT b TO oncall AS SELECT * FROM readings;
CREATE ALERT c RAISE WHEN temperature > 1 AS SELECT * FROM readings;"), @r#"
    error[TC0005]: TO is given twice
     --> p.sql:1:26
      |
    1 | CREATE ALERT a TO oncall TO oncall AS SELECT * FROM readings;
      |                          ^^

    error[TC0005]: the alert "b" has no condition
     --> p.sql:2:14
      |
    2 | CREATE ALERT b TO oncall AS SELECT * FROM readings;
      |              ^
      = help: add RAISE WHEN and a condition

    error[TC0005]: the alert "c" has no sink
     --> p.sql:3:14
      |
    3 | CREATE ALERT c RAISE WHEN temperature > 1 AS SELECT * FROM readings;
      |              ^
      = help: add TO and the name of a sink
    "#);
}

#[test]
fn if_not_exists() {
    insta::assert_snapshot!(found(r"CREATE STREAM IF NOT EXISTS a (x INT);
CREATE OR REPLACE VIEW v AS SELECT 1;
CREATE STREAM plant.b (x INT);"), @r#"
    error[TC0002]: a pipeline declares each name once
     --> p.sql:1:15
      |
    1 | CREATE STREAM IF NOT EXISTS a (x INT);
      |               ^^ found IF
      = help: leave IF NOT EXISTS out

    error[TC0002]: a pipeline declares each name once
     --> p.sql:2:8
      |
    2 | CREATE OR REPLACE VIEW v AS SELECT 1;
      |        ^^ found OR
      = help: leave OR REPLACE out

    error[TC0002]: the stream's name has no schema in front
     --> p.sql:3:20
      |
    3 | CREATE STREAM plant.b (x INT);
      |                    ^ found .
    "#);
}

#[test]
fn two_watermarks() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (ts TIMESTAMP, WATERMARK FOR ts AS ts, WATERMARK FOR ts AS ts);
CREATE STREAM b ();
CREATE STREAM c (x);"), @r#"
    error[TC0005]: WATERMARK is given twice
     --> p.sql:1:56
      |
    1 | CREATE STREAM a (ts TIMESTAMP, WATERMARK FOR ts AS ts, WATERMARK FOR ts AS ts);
      |                                                        ^^^^^^^^^

    error[TC0002]: expected a column's name, WATERMARK FOR or PRIMARY KEY
     --> p.sql:2:18
      |
    2 | CREATE STREAM b ();
      |                  ^ found )

    error[TC0002]: expected the type of "x"
     --> p.sql:3:19
      |
    3 | CREATE STREAM c (x);
      |                   ^ found )
    "#);
}

#[test]
fn nothing_to_insert() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics VALUES;
INSERT readings SELECT 1;
INSERT INTO metrics"), @r#"
    error[TC0002]: the statement ends too early
     --> p.sql:1:27
      |
    1 | INSERT INTO metrics VALUES;
      |                           ^ expected: (, found: ;

    error[TC0002]: expected INTO
     --> p.sql:2:8
      |
    2 | INSERT readings SELECT 1;
      |        ^^^^^^^^ found readings

    error[TC0002]: expected a query
     --> p.sql:3:20
      |
    3 | INSERT INTO metrics
      |                    ^ found the end of the statement
    "#);
}

#[test]
fn deep_nesting() {
    insta::assert_snapshot!(found(&format!("INSERT INTO metrics SELECT {}1{} AS x FROM readings;", "(".repeat(80), ")".repeat(80))), @r#"
    error[TC0006]: the statement is nested too deeply
     --> p.sql:1:76
      |
    1 | INSERT INTO metrics SELECT ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) AS x FROM readings;
      |                                                                            ^
    "#);
}
