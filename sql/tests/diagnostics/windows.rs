//! Window functions in FROM.

use super::found;

#[test]
fn window_arguments() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM HOP(readings, ts, INTERVAL '1 second') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, SLIDE => INTERVAL '1 second') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, upper(status), INTERVAL '1 second') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE('readings', ts, INTERVAL '1 second') GROUP BY window_start, window_end;"), @r#"
    error[TC0401]: TUMBLE needs its size
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts) GROUP BY window_start, window_end;
      |                                            ^^^^^^
      = help: write TUMBLE(input, time, INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])

    error[TC0401]: HOP needs its size
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT window_end FROM HOP(readings, ts, INTERVAL '1 second') GROUP BY window_start, window_end;
      |                                            ^^^
      = help: write HOP(input, time, INTERVAL 'slide', INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])

    error[TC0401]: TUMBLE has no argument SLIDE
     --> p.sql:3:44
      |
    3 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, SLIDE => INTERVAL '1 second') GROUP BY window_start, window_end;
      |                                            ^^^^^^
      = help: write TUMBLE(input, time, INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])

    error[TC0401]: the time of a window is a column of its input
     --> p.sql:4:61
      |
    4 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, upper(status), INTERVAL '1 second') GROUP BY window_start, window_end;
      |                                                             ^^^^^^^^^^^^^
      = help: write TUMBLE(input, time, INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])

    error[TC0401]: the input of a window is a stream, a view or a subquery in parentheses
     --> p.sql:5:51
      |
    5 | INSERT INTO metrics SELECT window_end FROM TUMBLE('readings', ts, INTERVAL '1 second') GROUP BY window_start, window_end;
      |                                                   ^^^^^^^^^^
      = help: write TUMBLE(input, time, INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])
    "#);
}

#[test]
fn window_size() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 month') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, 10) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM HOP(readings, ts, INTERVAL '0 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0402]: the size of TUMBLE is not a fixed interval
     --> p.sql:1:65
      |
    1 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 month') GROUP BY window_start, window_end;
      |                                                                 ^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: add a TIME ZONE, such as TIME ZONE 'UTC', for those of its calendar

    error[TC0402]: the size of TUMBLE is not a fixed interval
     --> p.sql:2:65
      |
    2 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, 10) GROUP BY window_start, window_end;
      |                                                                 ^^
      = help: write it like INTERVAL '10 seconds'

    error[TC0402]: the slide of HOP must be longer than nothing
     --> p.sql:3:62
      |
    3 | INSERT INTO metrics SELECT window_end FROM HOP(readings, ts, INTERVAL '0 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                              ^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn cumulate() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, INTERVAL '4 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, SLIDE => INTERVAL '1 minute', SIZE => INTERVAL '1 hour') GROUP BY window_start, window_end;"), @r#"
    error[TC0402]: the size of CUMULATE is not a whole number of its steps
     --> p.sql:1:67
      |
    1 | INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, INTERVAL '4 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end;
      |                                                                   ^^^^^^^^^^^^^^^^^^^^
      = help: make the size a multiple of the step

    error[TC0401]: CUMULATE needs its size
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                            ^^^^^^^^
      = help: write CUMULATE(input, time, INTERVAL 'step', INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])

    error[TC0401]: CUMULATE has no argument SLIDE
     --> p.sql:3:44
      |
    3 | INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, SLIDE => INTERVAL '1 minute', SIZE => INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                            ^^^^^^^^
      = help: write CUMULATE(input, time, INTERVAL 'step', INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])
    "#);
}

#[test]
fn time_zone() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day' TIME ZONE 'Europe/Berln') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', TIME ZONE 'berlin') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', TIME_ZONE => ts) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', INTERVAL '1 hour', INTERVAL '1 hour') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '7 hours' TIME ZONE 'UTC') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM HOP(readings, ts, INTERVAL '2 days', INTERVAL '3 days' TIME ZONE 'UTC') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, INTERVAL '7 days', INTERVAL '1 month' TIME ZONE 'UTC') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day' TIME ZONE) GROUP BY window_start, window_end;"), @r#"
    error[TC0405]: there is no time zone 'Europe/Berln'
     --> p.sql:1:92
      |
    1 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day' TIME ZONE 'Europe/Berln') GROUP BY window_start, window_end;
      |                                                                                            ^^^^^^^^^^^^^^
      = help: did you mean 'Europe/Berlin'?

    error[TC0405]: there is no time zone 'berlin'
     --> p.sql:2:93
      |
    2 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', TIME ZONE 'berlin') GROUP BY window_start, window_end;
      |                                                                                             ^^^^^^^^
      = help: did you mean 'Europe/Berlin'?

    error[TC0405]: a time zone is the name of one, as text
     --> p.sql:3:96
      |
    3 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', TIME_ZONE => ts) GROUP BY window_start, window_end;
      |                                                                                                ^^
      = help: write TIME ZONE 'Europe/Berlin'

    error[TC0401]: TUMBLE takes 4 arguments
     --> p.sql:4:44
      |
    4 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day', INTERVAL '1 hour', INTERVAL '1 hour') GROUP BY window_start, window_end;
      |                                            ^^^^^^
      = help: write TUMBLE(input, time, INTERVAL 'size' [, INTERVAL 'offset'] [TIME ZONE 'zone'])

    error[TC0402]: the size of TUMBLE does not divide a calendar
     --> p.sql:5:65
      |
    5 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '7 hours' TIME ZONE 'UTC') GROUP BY window_start, window_end;
      |                                                                 ^^^^^^^^^^^^^^^^^^
      = help: with TIME ZONE a length is a whole number of months or of days, or a part that divides a day

    error[TC0402]: the size of HOP is not a whole number of its slides
     --> p.sql:6:62
      |
    6 | INSERT INTO metrics SELECT window_end FROM HOP(readings, ts, INTERVAL '2 days', INTERVAL '3 days' TIME ZONE 'UTC') GROUP BY window_start, window_end;
      |                                                              ^^^^^^^^^^^^^^^^^
      = help: make the size a multiple of the slide

    error[TC0402]: the size of CUMULATE is not a whole number of its steps
     --> p.sql:7:67
      |
    7 | INSERT INTO metrics SELECT window_end FROM CUMULATE(readings, ts, INTERVAL '7 days', INTERVAL '1 month' TIME ZONE 'UTC') GROUP BY window_start, window_end;
      |                                                                   ^^^^^^^^^^^^^^^^^
      = help: make the size a multiple of the step

    error[TC0002]: syntax error at "TIME"
     --> p.sql:8:82
      |
    8 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, ts, INTERVAL '1 day' TIME ZONE) GROUP BY window_start, window_end;
      |                                                                                  ^^^^ expected: ), found: TIME
    "#);
}

#[test]
fn window_without_watermark() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(plain, at, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0403]: the stream "plain" has no watermark: this window would never close
     --> p.sql:1:73
      |
    1 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM TUMBLE(plain, at, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                         ^^
      = help: add WATERMARK FOR at AS at - INTERVAL '2 seconds' to the columns of plain
    "#);
}

#[test]
fn window_time() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, device_id, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE((SELECT device_id, ts - INTERVAL '1 hour' AS ts FROM readings), ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(devices, since, INTERVAL '1 minute') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, tss, INTERVAL '1 minute') GROUP BY window_start, window_end;"), @r#"
    error[TC0404]: "device_id" is of type TEXT, not TIMESTAMP
     --> p.sql:1:61
      |
    1 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, device_id, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                             ^^^^^^^^^
      = help: a window goes by a TIMESTAMP column; CAST(… AS TIMESTAMP) in a subquery makes one

    error[TC0404]: "ts" is not the event time of the stream "readings"
     --> p.sql:2:115
      |
    2 | INSERT INTO metrics SELECT window_end FROM TUMBLE((SELECT device_id, ts - INTERVAL '1 hour' AS ts FROM readings), ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                                                                                   ^^
      = help: a window goes by the column of WATERMARK FOR, which is "ts", unchanged

    error[TC0404]: a window goes over a stream, and there is none here
     --> p.sql:3:60
      |
    3 | INSERT INTO metrics SELECT window_end FROM TUMBLE(devices, since, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                            ^^^^^
      = help: a reference table has no event time

    error[TC0102]: no column "tss" in readings
     --> p.sql:4:61
      |
    4 | INSERT INTO metrics SELECT window_end FROM TUMBLE(readings, tss, INTERVAL '1 minute') GROUP BY window_start, window_end;
      |                                                             ^^^
      = help: did you mean "ts"?
    "#);
}

#[test]
fn window_in_select() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT tumble(ts, INTERVAL '1 minute'), count(*) AS n FROM readings GROUP BY 1;"), @r#"
    error[TC0104]: no function "tumble"
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT tumble(ts, INTERVAL '1 minute'), count(*) AS n FROM readings GROUP BY 1;
      |                            ^^^^^^
      = help: TUMBLE stands in FROM: FROM TUMBLE(input, time, …) GROUP BY window_start, window_end
    "#);
}

#[test]
fn windows_input_has_window_columns() {
    insta::assert_snapshot!(found(r"CREATE VIEW v AS SELECT ts, ts AS window_start FROM readings;
INSERT INTO metrics SELECT window_end FROM TUMBLE(v, ts, INTERVAL '1 minute') GROUP BY window_end;"), @r#"
    error[TC0106]: the input of TUMBLE already has a column "window_start"
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT window_end FROM TUMBLE(v, ts, INTERVAL '1 minute') GROUP BY window_end;
      |                                            ^^^^^^
      = help: give it another name in the subquery or view: window_start AS …
    "#);
}

#[test]
fn windows_that_begin_together() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_start, count(*) AS n FROM CUMULATE(readings, ts, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY window_start;
INSERT INTO metrics SELECT window_start, count(*) AS n FROM CUMULATE(readings, ts, INTERVAL '1 hour', INTERVAL '1 day' TIME ZONE 'UTC') GROUP BY window_start;
INSERT INTO metrics SELECT window_start, count(*) AS n FROM HOP(readings, ts, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY window_start;"), @r#"
    error[TC0319]: CUMULATE has several windows of one window_start, and this would be one group of them all
     --> p.sql:1:124
      |
    1 | INSERT INTO metrics SELECT window_start, count(*) AS n FROM CUMULATE(readings, ts, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY window_start;
      |                                                                                                                            ^^^^^
      = help: add window_end to GROUP BY

    error[TC0319]: CUMULATE has several windows of one window_start, and this would be one group of them all
     --> p.sql:2:137
      |
    2 | INSERT INTO metrics SELECT window_start, count(*) AS n FROM CUMULATE(readings, ts, INTERVAL '1 hour', INTERVAL '1 day' TIME ZONE 'UTC') GROUP BY window_start;
      |                                                                                                                                         ^^^^^
      = help: add window_end to GROUP BY
    "#);
}
