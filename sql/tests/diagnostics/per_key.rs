//! Watermarks `PER` key: where the rows of a key are, and queries that would mix keys.

use super::found;

/// A stream with a watermark per key, and text after it.
fn found_with(text: &str) -> String {
    found(&format!(
        "CREATE STREAM field (site TEXT, device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, value DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds' PER device_id
) PARTITION BY (device_id);
{text}"
    ))
}

#[test]
fn keys_that_are_in_several_partitions() {
    insta::assert_snapshot!(found(r"CREATE STREAM a (x TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER x);
CREATE STREAM b (x TEXT, y TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (x)) PARTITION BY (x, y);
CREATE STREAM c (x TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (x, z)) PARTITION BY x;
CREATE STREAM d (x TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (x, x)) PARTITION BY x;
CREATE STREAM e (x TEXT, y INT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (y, x)) PARTITION BY x WITH (idle_timeout = '1 minute');
CREATE STREAM f (x TEXT, y INT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (y, x)) PARTITION BY x;"), @r#"
    error[TC0410]: the rows of a key would not stay in one partition
     --> p.sql:1:63
      |
    1 | CREATE STREAM a (x TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER x);
      |                                                               ^^^^^
      = help: add PARTITION BY (x) behind the columns

    error[TC0410]: rows of one key with another "y" would be in other partitions
     --> p.sql:2:71
      |
    2 | CREATE STREAM b (x TEXT, y TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (x)) PARTITION BY (x, y);
      |                                                                       ^^^^^^^
      = help: write PARTITION BY (x), or PER (x, y)

    error[TC0102]: no column "z"
     --> p.sql:3:71
      |
    3 | CREATE STREAM c (x TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (x, z)) PARTITION BY x;
      |                                                                       ^
      = help: there is x and ts

    error[TC0106]: the column "x" is named twice
     --> p.sql:4:71
      |
    4 | CREATE STREAM d (x TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (x, x)) PARTITION BY x;
      |                                                                       ^

    error[TC0203]: the option "idle_timeout": with a watermark per key no key waits for another
     --> p.sql:5:118
      |
    5 | CREATE STREAM e (x TEXT, y INT, ts TIMESTAMP, WATERMARK FOR ts AS ts PER (y, x)) PARTITION BY x WITH (idle_timeout = '1 minute');
      |                                                                                                                      ^^^^^^^^^^
      = help: leave it out: a silent key holds back nothing but itself
    "#);
}

#[test]
fn queries_that_mix_keys() {
    insta::assert_snapshot!(found_with(r"INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT upper(device_id) AS d, window_end, count(*) AS n FROM HOP(field, ts, INTERVAL '1 minute', INTERVAL '2 minutes') GROUP BY upper(device_id), window_end;
INSERT INTO metrics SELECT site, window_end, count(*) AS n FROM SESSION(field, ts, INTERVAL '1 minute') GROUP BY site, window_start, window_end;
INSERT INTO metrics SELECT ts, lag(value) OVER (PARTITION BY site ORDER BY ts) AS before FROM field;
INSERT INTO metrics SELECT DISTINCT ON (site, window_end) site, ts FROM TUMBLE(field, ts, INTERVAL '1 minute') ORDER BY site, window_end, ts;
INSERT INTO metrics SELECT d.device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') AS f JOIN devices AS d ON d.device_id = f.device_id GROUP BY d.device_id, window_end;"), @r#"
    error[TC0411]: the stream "field" has a watermark per key, and this would mix rows of several keys
     --> p.sql:4:98
      |
    4 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                                                  ^^^^^
      = help: add "device_id" of the stream, unchanged, to GROUP BY

    error[TC0411]: the stream "field" has a watermark per key, and this would mix rows of several keys
     --> p.sql:5:140
      |
    5 | INSERT INTO metrics SELECT upper(device_id) AS d, window_end, count(*) AS n FROM HOP(field, ts, INTERVAL '1 minute', INTERVAL '2 minutes') GROUP BY upper(device_id), window_end;
      |                                                                                                                                            ^^^^^
      = help: add "device_id" of the stream, unchanged, to GROUP BY

    error[TC0411]: the stream "field" has a watermark per key, and this would mix rows of several keys
     --> p.sql:6:105
      |
    6 | INSERT INTO metrics SELECT site, window_end, count(*) AS n FROM SESSION(field, ts, INTERVAL '1 minute') GROUP BY site, window_start, window_end;
      |                                                                                                         ^^^^^
      = help: add "device_id" of the stream, unchanged, to GROUP BY

    error[TC0411]: the stream "field" has a watermark per key, and this would mix rows of several keys
     --> p.sql:7:49
      |
    7 | INSERT INTO metrics SELECT ts, lag(value) OVER (PARTITION BY site ORDER BY ts) AS before FROM field;
      |                                                 ^^^^^^^^^
      = help: add "device_id" of the stream, unchanged, to PARTITION BY

    error[TC0411]: the stream "field" has a watermark per key, and this would mix rows of several keys
     --> p.sql:8:28
      |
    8 | INSERT INTO metrics SELECT DISTINCT ON (site, window_end) site, ts FROM TUMBLE(field, ts, INTERVAL '1 minute') ORDER BY site, window_end, ts;
      |                            ^^^^^^^^
      = help: add "device_id" of the stream, unchanged, to DISTINCT ON

    error[TC0411]: the stream "field" has a watermark per key, and this would mix rows of several keys
     --> p.sql:9:163
      |
    9 | INSERT INTO metrics SELECT d.device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') AS f JOIN devices AS d ON d.device_id = f.device_id GROUP BY d.device_id, window_end;
      |                                                                                                                                                                   ^^^^^
      = help: add "device_id" of the stream, unchanged, to GROUP BY
    "#);
}

#[test]
fn queries_that_keep_keys_apart() {
    insta::assert_snapshot!(found_with(r"CREATE VIEW renamed AS SELECT device_id AS who, ts AS at, value AS v FROM field WHERE value > 0;
INSERT INTO metrics SELECT who, window_end, count(*) AS n FROM TUMBLE(renamed, at, INTERVAL '1 minute') GROUP BY who, window_end HAVING count(*) > 3;
INSERT INTO metrics SELECT f.device_id, d.site, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') AS f JOIN devices AS d ON d.device_id = f.device_id GROUP BY f.device_id, d.site, window_end;
INSERT INTO metrics SELECT at, lag(v) OVER (PARTITION BY who ORDER BY at) AS before FROM renamed;
INSERT INTO metrics SELECT DISTINCT ON (who, v, window_end) who, at FROM TUMBLE(renamed, at, INTERVAL '1 minute') ORDER BY who, v, window_end, at;
INSERT INTO metrics SELECT * FROM field WHERE value > 3;
CREATE ALERT a TO oncall KEY (who) RAISE WHEN n > 3 AS SELECT who, window_end, count(*) AS n FROM TUMBLE(renamed, at, INTERVAL '1 minute') GROUP BY who, window_end;
CREATE ALERT b TO oncall KEY (who) RAISE WHEN v > 3 AS SELECT DISTINCT ON (who, v, window_end) who, at, v FROM TUMBLE(renamed, at, INTERVAL '1 minute') ORDER BY who, v, window_end, at;
CREATE ALERT c TO oncall KEY (site) RAISE WHEN value > 3 AS SELECT site, ts, value FROM field;"), @"");
}

#[test]
fn what_needs_rows_of_all_keys() {
    insta::assert_snapshot!(found_with(r"INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end ORDER BY n LIMIT 3;
INSERT INTO metrics SELECT device_id, window_end, rank() OVER (ORDER BY count(*)) AS place FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end;
INSERT INTO metrics SELECT window_end, max(n) AS n FROM (SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end) GROUP BY window_end;
INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end EMIT ON UPDATE;
INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end EMIT EVERY INTERVAL '1 second' ALLOW LATENESS INTERVAL '1 minute';
INSERT INTO metrics SELECT f.ts, value, temperature FROM field AS f JOIN readings AS r ON r.device_id = f.device_id AND f.ts BETWEEN r.ts - INTERVAL '1 minute' AND r.ts;
INSERT INTO metrics SELECT f.ts, value, temperature FROM readings AS r ASOF JOIN field AS f MATCH_CONDITION (r.ts >= f.ts) ON r.device_id = f.device_id;
CREATE ALERT a TO oncall KEY (site) RAISE WHEN n > 3 AS SELECT device_id, site, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, site, window_end;"), @r#"
    error[TC0413]: with a watermark per key a window closes key by key: there is no set of rows to sort, limit or aggregate
     --> p.sql:4:151
      |
    4 | INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end ORDER BY n LIMIT 3;
      |                                                                                                                                                       ^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window

    error[TC0413]: with a watermark per key a window closes key by key: there is no set of rows to sort, limit or aggregate
     --> p.sql:5:58
      |
    5 | INSERT INTO metrics SELECT device_id, window_end, rank() OVER (ORDER BY count(*)) AS place FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end;
      |                                                          ^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window

    error[TC0413]: with a watermark per key a window closes key by key: there is no set of rows to sort, limit or aggregate
     --> p.sql:6:28
      |
    6 | INSERT INTO metrics SELECT window_end, max(n) AS n FROM (SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end) GROUP BY window_end;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window

    error[TC0412]: the stream "field" has a watermark per key: its windows are not emitted early yet
     --> p.sql:7:140
      |
    7 | INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end EMIT ON UPDATE;
      |                                                                                                                                            ^^^^^^^^^^^^^^
      = help: leave EMIT out: each key's windows are emitted when its own watermark closes them

    error[TC0412]: the stream "field" has a watermark per key: its windows are not emitted early yet
     --> p.sql:8:140
      |
    8 | INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, window_end EMIT EVERY INTERVAL '1 second' ALLOW LATENESS INTERVAL '1 minute';
      |                                                                                                                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: leave EMIT out: each key's windows are emitted when its own watermark closes them

    error[TC0414]: the stream "field" has a watermark per key, and a join of streams goes by one for all keys
     --> p.sql:9:58
      |
    9 | INSERT INTO metrics SELECT f.ts, value, temperature FROM field AS f JOIN readings AS r ON r.device_id = f.device_id AND f.ts BETWEEN r.ts - INTERVAL '1 minute' AND r.ts;
      |                                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: a stream that is joined with another needs a watermark without PER

    error[TC0414]: the stream "field" has a watermark per key, and a join of streams goes by one for all keys
      --> p.sql:10:58
       |
    10 | INSERT INTO metrics SELECT f.ts, value, temperature FROM readings AS r ASOF JOIN field AS f MATCH_CONDITION (r.ts >= f.ts) ON r.device_id = f.device_id;
       |                                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: a stream that is joined with another needs a watermark without PER

    error[TC0415]: the stream "field" has a watermark per key: rows of several keys come in no order
      --> p.sql:11:31
       |
    11 | CREATE ALERT a TO oncall KEY (site) RAISE WHEN n > 3 AS SELECT device_id, site, window_end, count(*) AS n FROM TUMBLE(field, ts, INTERVAL '1 minute') GROUP BY device_id, site, window_end;
       |                               ^^^^
       = help: add device_id of the stream to KEY (…)
    "#);
}
