//! Streams, tables and sinks.

use super::found;

#[test]
fn unknown_type() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x DUBLE, y STRNG, z TIMESTAMP(9), d DECIMAL(50, 2));"), @r#"
    error[TC0201]: no type "DUBLE"
     --> p.sql:1:20
      |
    1 | CREATE STREAM a (x DUBLE, y STRNG, z TIMESTAMP(9), d DECIMAL(50, 2));
      |                    ^^^^^
      = help: did you mean DOUBLE?

    error[TC0201]: no type "STRNG"
     --> p.sql:1:29
      |
    1 | CREATE STREAM a (x DUBLE, y STRNG, z TIMESTAMP(9), d DECIMAL(50, 2));
      |                             ^^^^^
      = help: did you mean STRING?

    error[TC0201]: no type "TIMESTAMP(9)"
     --> p.sql:1:38
      |
    1 | CREATE STREAM a (x DUBLE, y STRNG, z TIMESTAMP(9), d DECIMAL(50, 2));
      |                                      ^^^^^^^^^^^^
      = help: times are kept in microseconds: write TIMESTAMP

    error[TC0201]: no type "DECIMAL(50,2)"
     --> p.sql:1:54
      |
    1 | CREATE STREAM a (x DUBLE, y STRNG, z TIMESTAMP(9), d DECIMAL(50, 2));
      |                                                      ^^^^^^^^^^^^^^
      = help: DECIMAL(p, s) has 1 to 38 digits, 0 to p of them after the point
    "#);
}

#[test]
fn unknown_option() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT) WITH (partition = 4, retain = '1 day');
CREATE TABLE t (x INT) WITH (locaton = 't.csv');"), @r#"
    error[TC0202]: no option "partition"
     --> p.sql:1:31
      |
    1 | CREATE STREAM a (x INT) WITH (partition = 4, retain = '1 day');
      |                               ^^^^^^^^^
      = help: did you mean "partitions"?

    error[TC0202]: no option "retain"
     --> p.sql:1:46
      |
    1 | CREATE STREAM a (x INT) WITH (partition = 4, retain = '1 day');
      |                                              ^^^^^^
      = help: there is partitions, retention, max_size, connector, format, timestamp_unit, max_skew and idle_timeout

    error[TC0204]: the table "t" has no location
     --> p.sql:2:14
      |
    2 | CREATE TABLE t (x INT) WITH (locaton = 't.csv');
      |              ^
      = help: add WITH (location = 'file.csv')

    error[TC0202]: no option "locaton"
     --> p.sql:2:30
      |
    2 | CREATE TABLE t (x INT) WITH (locaton = 't.csv');
      |                              ^^^^^^^
      = help: did you mean "location"?
    "#);
}

#[test]
fn option_value() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT) WITH (partitions = 0, retention = '7 dais', max_size = '10 bananas', format = 'jason',
  timestamp_unit = 'minutes', max_skew = '1 hour', connector = secret('C'));
CREATE STREAM b (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (max_skew = 'never', idle_timeout = 'soon');
CREATE SINK s WITH (connector = console);
CREATE TABLE t (x INT) WITH (location = 't.xls', refresh = 5);"), @r#"
    error[TC0203]: the option "partitions": expected a number from 1 to 1024, found "0"
     --> p.sql:1:44
      |
    1 | CREATE STREAM a (x INT) WITH (partitions = 0, retention = '7 dais', max_size = '10 bananas', format = 'jason',
      |                                            ^

    error[TC0203]: the option "retention": "7 dais" is no length of time
     --> p.sql:1:59
      |
    1 | CREATE STREAM a (x INT) WITH (partitions = 0, retention = '7 dais', max_size = '10 bananas', format = 'jason',
      |                                                           ^^^^^^^^
      = help: write it like '7 days' or '90 seconds'

    error[TC0203]: the option "max_size": "10 bananas" is no size
     --> p.sql:1:80
      |
    1 | CREATE STREAM a (x INT) WITH (partitions = 0, retention = '7 dais', max_size = '10 bananas', format = 'jason',
      |                                                                                ^^^^^^^^^^^^
      = help: write it like '10GB' or '512MiB'

    error[TC0203]: the option "format": no format "jason"
     --> p.sql:1:103
      |
    1 | CREATE STREAM a (x INT) WITH (partitions = 0, retention = '7 dais', max_size = '10 bananas', format = 'jason',
      |                                                                                                       ^^^^^^^
      = help: did you mean "json"?

    error[TC0203]: the option "timestamp_unit": no unit "minutes"
     --> p.sql:2:20
      |
    2 |   timestamp_unit = 'minutes', max_skew = '1 hour', connector = secret('C'));
      |                    ^^^^^^^^^
      = help: there is 's', 'ms', 'us' and 'ns'

    error[TC0203]: the option "max_skew": the stream has no event time
     --> p.sql:2:42
      |
    2 |   timestamp_unit = 'minutes', max_skew = '1 hour', connector = secret('C'));
      |                                          ^^^^^^^^
      = help: add WATERMARK FOR and the event-time column to the stream's columns

    error[TC0203]: the option "connector": cannot be a secret
     --> p.sql:2:64
      |
    2 |   timestamp_unit = 'minutes', max_skew = '1 hour', connector = secret('C'));
      |                                                                ^^^^^^^^^^^

    error[TC0203]: the option "max_skew": "never" is no length of time
     --> p.sql:3:73
      |
    3 | CREATE STREAM b (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (max_skew = 'never', idle_timeout = 'soon');
      |                                                                         ^^^^^^^
      = help: write it like '1 hour', or 'none'

    error[TC0203]: the option "idle_timeout": "soon" is no length of time
     --> p.sql:3:97
      |
    3 | CREATE STREAM b (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (max_skew = 'never', idle_timeout = 'soon');
      |                                                                                                 ^^^^^^
      = help: write it like '7 days' or '90 seconds'

    error[TC0002]: expected text in single quotes, a number, TRUE, FALSE or secret('NAME')
     --> p.sql:4:33
      |
    4 | CREATE SINK s WITH (connector = console);
      |                                 ^^^^^^^ found console
      = help: text stands in single quotes: 'console'

    error[TC0203]: cannot tell the format of the table "t" from "xls"
     --> p.sql:5:41
      |
    5 | CREATE TABLE t (x INT) WITH (location = 't.xls', refresh = 5);
      |                                         ^^^^^^^
      = help: add format = 'csv', 'json' or 'parquet'

    error[TC0203]: the option "refresh": "5" is no length of time
     --> p.sql:5:60
      |
    5 | CREATE TABLE t (x INT) WITH (location = 't.xls', refresh = 5);
      |                                                            ^
      = help: write it like '7 days' or '90 seconds'
    "#);
}

#[test]
fn option_missing() {
    insta::assert_snapshot!(found(r"CREATE TABLE t (x INT);
CREATE SINK s;"), @r#"
    error[TC0204]: the table "t" has no location
     --> p.sql:1:14
      |
    1 | CREATE TABLE t (x INT);
      |              ^
      = help: add WITH (location = 'file.csv')

    error[TC0204]: the sink "s" has no connector
     --> p.sql:2:13
      |
    2 | CREATE SINK s;
      |             ^
      = help: add WITH (connector = 'console'), or another connector
    "#);
}

#[test]
fn option_twice() {
    insta::assert_snapshot!(found(r"CREATE SINK s WITH (connector = 'console', Connector = 'webhook');"), @r#"
    error[TC0205]: the option "connector" is given twice
     --> p.sql:1:44
      |
    1 | CREATE SINK s WITH (connector = 'console', Connector = 'webhook');
      |                                            ^^^^^^^^^
    "#);
}

#[test]
fn constraints() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT PRIMARY KEY);
CREATE STREAM b (x INT DEFAULT 5);
CREATE TABLE c (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (location = 't.csv');"), @r#"
    error[TC0206]: a stream has no primary key
     --> p.sql:1:24
      |
    1 | CREATE STREAM a (x INT PRIMARY KEY);
      |                        ^^^^^^^^^^^
      = help: rows of a stream are never replaced; PARTITION BY places rows by a key

    error[TC0206]: a column takes NOT NULL, and in a reference table PRIMARY KEY
     --> p.sql:2:24
      |
    2 | CREATE STREAM b (x INT DEFAULT 5);
      |                        ^^^^^^^ found DEFAULT

    error[TC0206]: a reference table has no watermark
     --> p.sql:3:45
      |
    3 | CREATE TABLE c (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (location = 't.csv');
      |                                             ^^
      = help: rows that arrive over time belong into a stream: CREATE STREAM

    warning[TC0701]: no file t.csv
     --> p.sql:3:72
      |
    3 | CREATE TABLE c (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (location = 't.csv');
      |                                                                        ^^^^^^^
      = help: it has to be there when the pipeline starts
    "#);
}

#[test]
fn watermark() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (ts BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1 second');
CREATE STREAM b (ts TIMESTAMP, WATERMARK FOR tz AS tz - INTERVAL '1 second');
CREATE STREAM c (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 month');
CREATE STREAM d (ts TIMESTAMP, WATERMARK FOR ts AS ts - 5);
CREATE STREAM e (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '-5 seconds');"), @r#"
    error[TC0207]: "ts" is of type BIGINT, not TIMESTAMP
     --> p.sql:1:43
      |
    1 | CREATE STREAM a (ts BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1 second');
      |                                           ^^
      = help: the event time of a stream is a TIMESTAMP column

    error[TC0102]: no column "tz"
     --> p.sql:2:46
      |
    2 | CREATE STREAM b (ts TIMESTAMP, WATERMARK FOR tz AS tz - INTERVAL '1 second');
      |                                              ^^
      = help: did you mean "ts"?

    error[TC0207]: the watermark of "ts" is "ts" minus a fixed interval
     --> p.sql:3:52
      |
    3 | CREATE STREAM c (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 month');
      |                                                    ^^^^^^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: write it in days, hours, minutes or seconds

    error[TC0207]: the watermark of "ts" is "ts" minus a fixed interval
     --> p.sql:4:52
      |
    4 | CREATE STREAM d (ts TIMESTAMP, WATERMARK FOR ts AS ts - 5);
      |                                                    ^^^^^^
      = help: write it like INTERVAL '10 seconds'

    error[TC0207]: the watermark of "ts" is "ts" minus a fixed interval
     --> p.sql:5:52
      |
    5 | CREATE STREAM e (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '-5 seconds');
      |                                                    ^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: the watermark cannot be ahead of the rows
    "#);
}

#[test]
fn partition_by() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x DOUBLE) PARTITION BY (x, z);"), @r#"
    error[TC0209]: "x" is of type DOUBLE, which is no key
     --> p.sql:1:42
      |
    1 | CREATE STREAM a (x DOUBLE) PARTITION BY (x, z);
      |                                          ^
      = help: partition by text, whole numbers, times or truth values

    error[TC0102]: no column "z"
     --> p.sql:1:45
      |
    1 | CREATE STREAM a (x DOUBLE) PARTITION BY (x, z);
      |                                             ^
      = help: there is x
    "#);
}

#[test]
fn missing_file() {
    insta::assert_snapshot!(found(r"CREATE TABLE t (x INT) WITH (location = 'nowhere.csv');"), @r#"
    warning[TC0701]: no file nowhere.csv
     --> p.sql:1:41
      |
    1 | CREATE TABLE t (x INT) WITH (location = 'nowhere.csv');
      |                                         ^^^^^^^^^^^^^
      = help: it has to be there when the pipeline starts
    "#);
}

#[test]
fn metadata() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x INT, at TIMESTAMP NOT NULL METADATA FROM 'timestmap', n TEXT NOT NULL METADATA FROM 'topic',
  h BIGINT METADATA FROM 'headers', offset BIGINT METADATA);
CREATE STREAM b (at TIMESTAMP METADATA FROM 'timestamp');
CREATE STREAM c (x INT, at TIMESTAMP METADATA FROM timestamp);
CREATE STREAM d (x INT, h INT METADATA FROM 'headers', k TEXT NOT NULL METADATA FROM 'key', o TEXT METADATA FROM 'offset');
CREATE STREAM e (x INT, k TEXT METADATA FROM 'key' METADATA FROM 'key');
CREATE STREAM good (x INT, topic TEXT METADATA, at TIMESTAMP NOT NULL METADATA FROM 'timestamp', WATERMARK FOR at AS at);
CREATE TABLE t (x INT, y TEXT METADATA FROM 'key') WITH (location = 't.csv');"), @r#"
    error[TC0360]: no metadata "timestmap"
     --> p.sql:1:61
      |
    1 | CREATE STREAM a (x INT, at TIMESTAMP NOT NULL METADATA FROM 'timestmap', n TEXT NOT NULL METADATA FROM 'topic',
      |                                                             ^^^^^^^^^^^
      = help: did you mean "timestamp"?

    error[TC0360]: "n" is NOT NULL, and not every door knows this of a row
     --> p.sql:1:74
      |
    1 | CREATE STREAM a (x INT, at TIMESTAMP NOT NULL METADATA FROM 'timestmap', n TEXT NOT NULL METADATA FROM 'topic',
      |                                                                          ^
      = help: without NOT NULL it is NULL there; only the timestamp is always known

    error[TC0360]: "h" is BIGINT, and this metadata is TEXT
     --> p.sql:2:5
      |
    2 |   h BIGINT METADATA FROM 'headers', offset BIGINT METADATA);
      |     ^^^^^^
      = help: write h TEXT METADATA FROM 'headers'

    error[TC0360]: no metadata "offset"
     --> p.sql:2:51
      |
    2 |   h BIGINT METADATA FROM 'headers', offset BIGINT METADATA);
      |                                                   ^^^^^^^^
      = help: there is key, topic, timestamp and headers

    error[TC0360]: every column of the stream is metadata: rows have none of their own
     --> p.sql:3:18
      |
    3 | CREATE STREAM b (at TIMESTAMP METADATA FROM 'timestamp');
      |                  ^^

    error[TC0002]: expected what the column is, as METADATA FROM 'timestamp'
     --> p.sql:4:52
      |
    4 | CREATE STREAM c (x INT, at TIMESTAMP METADATA FROM timestamp);
      |                                                    ^^^^^^^^^ found timestamp

    error[TC0360]: "h" is INTEGER, and this metadata is TEXT
     --> p.sql:5:27
      |
    5 | CREATE STREAM d (x INT, h INT METADATA FROM 'headers', k TEXT NOT NULL METADATA FROM 'key', o TEXT METADATA FROM 'offset');
      |                           ^^^
      = help: write h TEXT METADATA FROM 'headers'

    error[TC0360]: "k" is NOT NULL, and not every door knows this of a row
     --> p.sql:5:56
      |
    5 | CREATE STREAM d (x INT, h INT METADATA FROM 'headers', k TEXT NOT NULL METADATA FROM 'key', o TEXT METADATA FROM 'offset');
      |                                                        ^
      = help: without NOT NULL it is NULL there; only the timestamp is always known

    error[TC0360]: no metadata "offset"
     --> p.sql:5:114
      |
    5 | CREATE STREAM d (x INT, h INT METADATA FROM 'headers', k TEXT NOT NULL METADATA FROM 'key', o TEXT METADATA FROM 'offset');
      |                                                                                                                  ^^^^^^^^
      = help: there is key, topic, timestamp and headers

    error[TC0005]: METADATA is given twice
     --> p.sql:6:52
      |
    6 | CREATE STREAM e (x INT, k TEXT METADATA FROM 'key' METADATA FROM 'key');
      |                                                    ^^^^^^^^

    error[TC0360]: a reference table has no metadata
     --> p.sql:8:45
      |
    8 | CREATE TABLE t (x INT, y TEXT METADATA FROM 'key') WITH (location = 't.csv');
      |                                             ^^^^^
      = help: metadata is of rows that arrive over time: CREATE STREAM

    warning[TC0701]: no file t.csv
     --> p.sql:8:69
      |
    8 | CREATE TABLE t (x INT, y TEXT METADATA FROM 'key') WITH (location = 't.csv');
      |                                                                     ^^^^^^^
      = help: it has to be there when the pipeline starts
    "#);
}
