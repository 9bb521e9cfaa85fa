//! Names that are unknown, ambiguous, or declared twice.

use super::found;

#[test]
fn unknown_table() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM reading;"), @r#"
    error[TC0101]: no stream, table or view "reading"
     --> p.sql:1:43
      |
    1 | INSERT INTO metrics SELECT device_id FROM reading;
      |                                           ^^^^^^^
      = help: did you mean "readings"?
    "#);
}

#[test]
fn unknown_column() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, temprature
FROM readings
WHERE presure > 1;"), @r#"
    error[TC0102]: no column "temprature" in readings
     --> p.sql:1:39
      |
    1 | INSERT INTO metrics SELECT device_id, temprature
      |                                       ^^^^^^^^^^
      = help: did you mean "temperature"?

    error[TC0102]: no column "presure" in readings
     --> p.sql:3:7
      |
    3 | WHERE presure > 1;
      |       ^^^^^^^
      = help: did you mean "pressure"?
    "#);
}

#[test]
fn several_unknown_columns() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT temprature, r.presure, x.status FROM readings AS r;"), @r#"
    error[TC0102]: no column "temprature" in r
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT temprature, r.presure, x.status FROM readings AS r;
      |                            ^^^^^^^^^^
      = help: did you mean "temperature"?

    error[TC0102]: no column "presure" in r
     --> p.sql:1:40
      |
    1 | INSERT INTO metrics SELECT temprature, r.presure, x.status FROM readings AS r;
      |                                        ^^^^^^^^^
      = help: did you mean "pressure"?

    error[TC0102]: nothing is called "x" in this query
     --> p.sql:1:51
      |
    1 | INSERT INTO metrics SELECT temprature, r.presure, x.status FROM readings AS r;
      |                                                   ^^^^^^^^
      = help: there is r
    "#);
}

#[test]
fn ambiguous_column() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id FROM readings JOIN devices ON readings.device_id = devices.device_id;"), @r#"
    error[TC0103]: more than one column is called "device_id"
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT device_id FROM readings JOIN devices ON readings.device_id = devices.device_id;
      |                            ^^^^^^^^^
      = help: say whose it is: table.device_id
    "#);
}

#[test]
fn unknown_function() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT rond(temperature), lenght(status) FROM readings;"), @r#"
    error[TC0104]: no function "rond"
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT rond(temperature), lenght(status) FROM readings;
      |                            ^^^^
      = help: did you mean "round"?

    error[TC0104]: no function "lenght"
     --> p.sql:1:47
      |
    1 | INSERT INTO metrics SELECT rond(temperature), lenght(status) FROM readings;
      |                                               ^^^^^^
      = help: did you mean "length"?
    "#);
}

#[test]
fn unknown_table_function() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM TUMBEL(readings, ts, INTERVAL '1 second');"), @r#"
    error[TC0104]: no function "TUMBEL" can stand in FROM
     --> p.sql:1:35
      |
    1 | INSERT INTO metrics SELECT * FROM TUMBEL(readings, ts, INTERVAL '1 second');
      |                                   ^^^^^^
      = help: did you mean TUMBLE?
    "#);
}

#[test]
fn name_declared_twice() {
    insta::assert_snapshot!(found(r"CREATE STREAM readings (a INT);
CREATE SINK metrics WITH (connector = 'console');"), @r#"
    error[TC0105]: the name "readings" is declared twice
     --> p.sql:1:15
      |
    1 | CREATE STREAM readings (a INT);
      |               ^^^^^^^^
      = help: it is declared first at base.sql:1

    error[TC0105]: the name "metrics" is declared twice
     --> p.sql:2:13
      |
    2 | CREATE SINK metrics WITH (connector = 'console');
      |             ^^^^^^^
      = help: it is declared first at base.sql:9
    "#);
}

#[test]
fn column_declared_twice() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT, X TEXT);
CREATE STREAM b (ts TIMESTAMP) PARTITION BY (ts, ts);"), @r#"
    error[TC0106]: two columns are called "x"
     --> p.sql:1:25
      |
    1 | CREATE STREAM a (x INT, X TEXT);
      |                         ^

    error[TC0106]: the column "ts" is named twice
     --> p.sql:2:50
      |
    2 | CREATE STREAM b (ts TIMESTAMP) PARTITION BY (ts, ts);
      |                                                  ^^
    "#);
}

#[test]
fn output_column_twice() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT r.device_id, d.device_id FROM readings r JOIN devices d ON r.device_id = d.device_id;"), @r#"
    error[TC0106]: two columns of the query are called "device_id"
     --> p.sql:1:21
      |
    1 | INSERT INTO metrics SELECT r.device_id, d.device_id FROM readings r JOIN devices d ON r.device_id = d.device_id;
      |                     ^^^^^^
      = help: give one of them another name with AS, or list the columns instead of *
    "#);
}

#[test]
fn column_twice() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT ts, temperature, ts FROM readings;"), @r#"
    error[TC0106]: the column ts stands twice
     --> p.sql:1:45
      |
    1 | INSERT INTO metrics SELECT ts, temperature, ts FROM readings;
      |                                             ^^
      = help: give one of them another name with AS
    "#);
}

#[test]
fn views_in_a_circle() {
    insta::assert_snapshot!(found(r"CREATE VIEW a AS SELECT * FROM b;
CREATE VIEW b AS SELECT * FROM a;
INSERT INTO metrics SELECT * FROM a;"), @r#"
    error[TC0107]: the view "a" depends on itself
     --> p.sql:1:13
      |
    1 | CREATE VIEW a AS SELECT * FROM b;
      |             ^

    error[TC0107]: the view "b" depends on itself
     --> p.sql:2:13
      |
    2 | CREATE VIEW b AS SELECT * FROM a;
      |             ^
    "#);
}

#[test]
fn stream_feeds_itself() {
    insta::assert_snapshot!(found(r"INSERT INTO readings SELECT * FROM readings;"), @r#"
    error[TC0107]: the stream "readings" is written from its own rows
     --> p.sql:1:13
      |
    1 | INSERT INTO readings SELECT * FROM readings;
      |             ^^^^^^^^
      = help: every row would make another one, for ever
    "#);
}

#[test]
fn unknown_target() {
    insta::assert_snapshot!(found(r"INSERT INTO metric SELECT * FROM readings;
CREATE ALERT a TO onkall RAISE WHEN temperature > 1 AS SELECT * FROM readings;"), @r#"
    error[TC0108]: no stream or sink "metric"
     --> p.sql:1:13
      |
    1 | INSERT INTO metric SELECT * FROM readings;
      |             ^^^^^^
      = help: did you mean "metrics"?

    error[TC0108]: no sink "onkall"
     --> p.sql:2:19
      |
    2 | CREATE ALERT a TO onkall RAISE WHEN temperature > 1 AS SELECT * FROM readings;
      |                   ^^^^^^
      = help: did you mean "oncall"?
    "#);
}

#[test]
fn wrong_target() {
    insta::assert_snapshot!(found(r"INSERT INTO devices SELECT * FROM readings;
CREATE ALERT a TO readings RAISE WHEN temperature > 1 AS SELECT * FROM readings;"), @r#"
    error[TC0109]: "devices" is a table: rows cannot be written to it
     --> p.sql:1:13
      |
    1 | INSERT INTO devices SELECT * FROM readings;
      |             ^^^^^^^
      = help: INSERT INTO takes a stream or a sink

    error[TC0109]: "readings" is a stream: an alert goes to a sink
     --> p.sql:2:19
      |
    2 | CREATE ALERT a TO readings RAISE WHEN temperature > 1 AS SELECT * FROM readings;
      |                   ^^^^^^^^
    "#);
}

#[test]
fn sink_read_from() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT * FROM oncall;"), @r#"
    error[TC0110]: "oncall" is a sink: it cannot be read from
     --> p.sql:1:35
      |
    1 | INSERT INTO metrics SELECT * FROM oncall;
      |                                   ^^^^^^
      = help: read the stream or view that feeds it
    "#);
}

#[test]
fn view_with_a_mistake() {
    insta::assert_snapshot!(found(r"CREATE VIEW v AS SELECT nope FROM readings;
INSERT INTO metrics SELECT * FROM v;
CREATE VIEW w AS SELECT device_id, temperature * 2 AS double FROM readings;
INSERT INTO metrics SELECT doubel FROM w;"), @r#"
    error[TC0102]: no column "nope" in readings
     --> p.sql:1:25
      |
    1 | CREATE VIEW v AS SELECT nope FROM readings;
      |                         ^^^^
      = help: there is device_id, ts, temperature, pressure and status

    error[TC0102]: no column "doubel" in w
     --> p.sql:4:28
      |
    4 | INSERT INTO metrics SELECT doubel FROM w;
      |                            ^^^^^^
      = help: did you mean "double"?
    "#);
}

#[test]
fn broken_declarations_do_not_cascade() {
    insta::assert_snapshot!(found(r"CREATE STREAM broken (x DUBLE);
INSERT INTO metrics SELECT x + 1 FROM broken;
CREATE STREAM worse (x INT;
INSERT INTO worse SELECT 1 FROM worse;"), @r#"
    error[TC0201]: no type "DUBLE"
     --> p.sql:1:25
      |
    1 | CREATE STREAM broken (x DUBLE);
      |                         ^^^^^
      = help: did you mean DOUBLE?

    error[TC0002]: expected "," or ")" after a column
     --> p.sql:3:27
      |
    3 | CREATE STREAM worse (x INT;
      |                           ^ found the end of the statement
    "#);
}
