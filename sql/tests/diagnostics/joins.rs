//! Joins of streams.

use super::found;

#[test]
fn joins_without_bounds() {
    insta::assert_snapshot!(found(r"CREATE STREAM other (device_id TEXT, at TIMESTAMP, x DOUBLE, WATERMARK FOR at AS at);
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.device_id = o.device_id;
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.device_id = o.device_id AND r.ts >= o.at - INTERVAL '5 seconds';
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.device_id = o.device_id AND r.ts - o.at < INTERVAL '5 seconds';
INSERT INTO metrics SELECT r.device_id FROM (SELECT device_id, ts + INTERVAL '1 hour' AS ts FROM readings) r JOIN other o ON r.ts BETWEEN o.at AND o.at + INTERVAL '1 hour';
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.ts BETWEEN o.at AND o.at + INTERVAL '1 month';"), @r#"
    error[TC0340]: this join of streams would have to remember every row: nothing bounds how far apart in time two rows may be
     --> p.sql:2:45
      |
    2 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.device_id = o.device_id;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add AND r.ts BETWEEN o.at - INTERVAL '1 minute' AND o.at + INTERVAL '1 minute'

    error[TC0340]: this join of streams would have to remember every row: nothing bounds how much later the first may be
     --> p.sql:3:45
      |
    3 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.device_id = o.device_id AND r.ts >= o.at - INTERVAL '5 seconds';
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add AND r.ts <= o.at + INTERVAL '1 minute'

    error[TC0340]: this join of streams would have to remember every row: nothing bounds how much earlier the first may be
     --> p.sql:4:45
      |
    4 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.device_id = o.device_id AND r.ts - o.at < INTERVAL '5 seconds';
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add AND r.ts >= o.at - INTERVAL '1 minute'

    error[TC0340]: this join of streams has no bound in event time
     --> p.sql:5:46
      |
    5 | INSERT INTO metrics SELECT r.device_id FROM (SELECT device_id, ts + INTERVAL '1 hour' AS ts FROM readings) r JOIN other o ON r.ts BETWEEN o.at AND o.at + INTERVAL '1 hour';
      |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: the event time of both sides must be among their columns, unchanged, to be compared

    error[TC0340]: this join of streams would have to remember every row: nothing bounds how far apart in time two rows may be
     --> p.sql:6:45
      |
    6 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.ts BETWEEN o.at AND o.at + INTERVAL '1 month';
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add AND r.ts BETWEEN o.at - INTERVAL '1 minute' AND o.at + INTERVAL '1 minute'
    "#);
}

#[test]
fn joins_of_another_form() {
    insta::assert_snapshot!(found(r"CREATE STREAM other (device_id TEXT, ts TIMESTAMP, x DOUBLE, WATERMARK FOR ts AS ts);
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN plain p ON r.ts = p.at;
INSERT INTO metrics SELECT r.device_id FROM readings r LEFT SEMI JOIN other o ON r.ts = o.ts;
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.ts BETWEEN o.ts + INTERVAL '1 second' AND o.ts - INTERVAL '1 second';
INSERT INTO metrics SELECT x.device_id FROM TUMBLE(readings, ts, INTERVAL '1 minute') x JOIN TUMBLE(other, ts, INTERVAL '2 minutes') y ON x.window_end = y.window_end;
INSERT INTO metrics SELECT r.device_id, count(*) AS n FROM readings r JOIN other o ON r.ts = o.ts GROUP BY r.device_id;
INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.ts = o.ts JOIN other p ON p.ts = o.ts;
INSERT INTO metrics SELECT r.device_id FROM (SELECT device_id, max(ts) AS ts FROM readings GROUP BY device_id) r JOIN other o ON r.ts = o.ts;
INSERT INTO metrics SELECT x.device_id FROM SESSION(readings, ts, INTERVAL '1 minute') x JOIN other o ON x.ts = o.ts;"), @r#"
    error[TC0342]: the stream "plain" has no watermark, and a join of streams goes by event time
     --> p.sql:2:45
      |
    2 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN plain p ON r.ts = p.at;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of plain

    error[TC0341]: a LeftSemi join of streams is not supported
     --> p.sql:3:45
      |
    3 | INSERT INTO metrics SELECT r.device_id FROM readings r LEFT SEMI JOIN other o ON r.ts = o.ts;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: use an inner, left, right or full join

    error[TC0341]: no two rows can fulfil this condition: the bounds in event time exclude each other
     --> p.sql:4:45
      |
    4 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.ts BETWEEN o.ts + INTERVAL '1 second' AND o.ts - INTERVAL '1 second';
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write r.ts BETWEEN o.ts - INTERVAL '…' AND o.ts + INTERVAL '…', the earlier bound first

    error[TC0341]: the two sides of this join have different windows
     --> p.sql:5:45
      |
    5 | INSERT INTO metrics SELECT x.device_id FROM TUMBLE(readings, ts, INTERVAL '1 minute') x JOIN TUMBLE(other, ts, INTERVAL '2 minutes') y ON x.window_end = y.window_end;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: give both the same TUMBLE window

    error[TC0317]: above a join of streams every row runs by itself: there is no set of rows to sort, limit or aggregate
     --> p.sql:6:28
      |
    6 | INSERT INTO metrics SELECT r.device_id, count(*) AS n FROM readings r JOIN other o ON r.ts = o.ts GROUP BY r.device_id;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window

    error[TC0302]: this query reads streams more than twice: readings, other, other
     --> p.sql:7:45
      |
    7 | INSERT INTO metrics SELECT r.device_id FROM readings r JOIN other o ON r.ts = o.ts JOIN other p ON p.ts = o.ts;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: join two streams at a time: INSERT the first join into a stream, and join that

    error[TC0341]: a side of this join aggregates a stream
     --> p.sql:8:46
      |
    8 | INSERT INTO metrics SELECT r.device_id FROM (SELECT device_id, max(ts) AS ts FROM readings GROUP BY device_id) r JOIN other o ON r.ts = o.ts;
      |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: INSERT the result of each side into a stream of its own, with a WATERMARK, and join those

    error[TC0316]: the windows of this function depend on other rows, so a row by itself has none
     --> p.sql:9:28
      |
    9 | INSERT INTO metrics SELECT x.device_id FROM SESSION(readings, ts, INTERVAL '1 minute') x JOIN other o ON x.ts = o.ts;
      |                            ^^^^^^^^^^^
      = help: aggregate over them: GROUP BY a key, window_start, window_end
    "#);
}

#[test]
fn asof_joins() {
    insta::assert_snapshot!(found(r"CREATE STREAM other (device_id TEXT, at TIMESTAMP, x DOUBLE, WATERMARK FOR at AS at);
INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts <= o.at) ON r.device_id = o.device_id;
INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts >= o.when) ON r.device_id = o.device_id;
INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts >= o.at) ON r.device_id = o.device_id AND o.x > 5;
INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN devices d MATCH_CONDITION (r.ts >= d.since) ON r.device_id = d.device_id;
INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts >= o.at) USING (device_id);"), @r#"
    error[TC0341]: the MATCH_CONDITION of an as-of join compares the event times of the two streams by >= or >
     --> p.sql:2:45
      |
    2 | INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts <= o.at) ON r.device_id = o.device_id;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write MATCH_CONDITION (r.ts >= o.at)

    error[TC0102]: no column "when" in o
     --> p.sql:3:99
      |
    3 | INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts >= o.when) ON r.device_id = o.device_id;
      |                                                                                                   ^^^^^^
      = help: there is device_id, at and x

    error[TC0341]: the ON of an as-of join takes equal keys and how old a match may be
     --> p.sql:4:45
      |
    4 | INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts >= o.at) ON r.device_id = o.device_id AND o.x > 5;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write ON … = … AND r.ts - o.at <= INTERVAL '1 hour'; what else a match must fulfil can be filtered in a subquery

    error[TC0341]: an as-of join is of two streams
     --> p.sql:5:45
      |
    5 | INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN devices d MATCH_CONDITION (r.ts >= d.since) ON r.device_id = d.device_id;
      |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: a join with a reference table takes its current version: JOIN … ON …

    error[TC0908]: this as-of join is not supported yet
     --> p.sql:6:66
      |
    6 | INSERT INTO metrics SELECT r.device_id FROM readings r ASOF JOIN other o MATCH_CONDITION (r.ts >= o.at) USING (device_id);
      |                                                                  ^^^^^^^
      = help: a continuous query joins two streams by it: ASOF JOIN … MATCH_CONDITION (a.ts >= b.ts) ON …
    "#);
}
