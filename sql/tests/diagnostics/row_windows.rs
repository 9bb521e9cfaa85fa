//! Windows that rows make: `SESSION`, `COUNT_WINDOW` and `STATE_WINDOW`.

use super::found;

#[test]
fn they_need_an_aggregate() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, window_start FROM SESSION(readings, ts, INTERVAL '5 minutes');
INSERT INTO metrics SELECT device_id, window_start FROM COUNT_WINDOW(readings, 10);
INSERT INTO metrics SELECT window_end, count(*) AS n FROM COUNT_WINDOW(readings, 10) GROUP BY window_start, window_end ORDER BY n;"), @r#"
    error[TC0316]: the windows of this function depend on other rows, so a row by itself has none
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT device_id, window_start FROM SESSION(readings, ts, INTERVAL '5 minutes');
      |                            ^^^^^^^^^^^^^^^^^^^^^^^
      = help: aggregate over them: GROUP BY a key, window_start, window_end

    error[TC0316]: the windows of this function depend on other rows, so a row by itself has none
     --> p.sql:2:28
      |
    2 | INSERT INTO metrics SELECT device_id, window_start FROM COUNT_WINDOW(readings, 10);
      |                            ^^^^^^^^^^^^^^^^^^^^^^^
      = help: aggregate over them: GROUP BY a key, window_start, window_end

    error[TC0317]: above COUNT_WINDOW every row runs by itself: there is no set of rows to sort, limit or aggregate
     --> p.sql:3:28
      |
    3 | INSERT INTO metrics SELECT window_end, count(*) AS n FROM COUNT_WINDOW(readings, 10) GROUP BY window_start, window_end ORDER BY n;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window
    "#);
}

#[test]
fn their_numbers_and_conditions() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 0) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 10, INTERVAL '1 second') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 1000000, 1) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 10, 5, ts) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature, temperature < 70) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80, max(temperature) < 70) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperatur > 80, temperature < 70) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80, ts < 70.5) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, status > 5, temperature < 70) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80, no(temperature)) GROUP BY window_start, window_end;"), @r#"
    error[TC0401]: COUNT_WINDOW needs its number of rows
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings) GROUP BY window_start, window_end;
      |                                            ^^^^^^^^^^^^
      = help: write COUNT_WINDOW(input, rows [, slide])

    error[TC0401]: the size of COUNT_WINDOW is a positive whole number of rows, found 0
     --> p.sql:2:67
      |
    2 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 0) GROUP BY window_start, window_end;
      |                                                                   ^
      = help: write COUNT_WINDOW(input, rows [, slide])

    error[TC0401]: the slide of COUNT_WINDOW is a positive whole number of rows, found INTERVAL '1 second'
     --> p.sql:3:71
      |
    3 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 10, INTERVAL '1 second') GROUP BY window_start, window_end;
      |                                                                       ^^^^^^^^^^^^^^^^^^^
      = help: write COUNT_WINDOW(input, rows [, slide])

    error[TC0401]: a row would be in 1000000 windows at once; at most 1000 may overlap
     --> p.sql:4:76
      |
    4 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 1000000, 1) GROUP BY window_start, window_end;
      |                                                                            ^
      = help: make the slide longer

    error[TC0401]: COUNT_WINDOW takes 3 arguments
     --> p.sql:5:44
      |
    5 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 10, 5, ts) GROUP BY window_start, window_end;
      |                                            ^^^^^^^^^^^^
      = help: write COUNT_WINDOW(input, rows [, slide])

    error[TC0401]: STATE_WINDOW needs the conditions that start and end a state
     --> p.sql:6:44
      |
    6 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80) GROUP BY window_start, window_end;
      |                                            ^^^^^^^^^^^^
      = help: write STATE_WINDOW(input, start_condition, end_condition)

    error[TC0401]: the start of STATE_WINDOW is a condition, found DOUBLE
     --> p.sql:7:67
      |
    7 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature, temperature < 70) GROUP BY window_start, window_end;
      |                                                                   ^^^^^^^^^^^
      = help: write a condition over the columns of a row, like temperature > 80

    error[TC0401]: a condition of STATE_WINDOW looks at one row: no aggregates, window functions or subqueries
     --> p.sql:8:85
      |
    8 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80, max(temperature) < 70) GROUP BY window_start, window_end;
      |                                                                                     ^^^^^^^^^^^^^^^^^^^^^

    error[TC0102]: no column "temperatur" in readings
     --> p.sql:9:67
      |
    9 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperatur > 80, temperature < 70) GROUP BY window_start, window_end;
      |                                                                   ^^^^^^^^^^
      = help: did you mean "temperature"?

    error[TC0602]: the types in the end condition of STATE_WINDOW do not fit together
      --> p.sql:10:85
       |
    10 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80, ts < 70.5) GROUP BY window_start, window_end;
       |                                                                                     ^^^^^^^^^
       = help: CAST(… AS type) converts between types

    error[TC0602]: the operator > does not take TEXT and BIGINT
      --> p.sql:11:67
       |
    11 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, status > 5, temperature < 70) GROUP BY window_start, window_end;
       |                                                                   ^^^^^^
       = help: CAST(… AS type) converts between types

    error[TC0104]: no function "no"
      --> p.sql:12:85
       |
    12 | INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(readings, temperature > 80, no(temperature)) GROUP BY window_start, window_end;
       |                                                                                     ^^
       = help: did you mean "now"?
    "#);
}

#[test]
fn their_time() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(plain, 10) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(devices, 10) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW((SELECT device_id FROM readings), 10) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW((SELECT *, ts + INTERVAL '1 hour' AS later FROM readings), 10, TIME => later) GROUP BY window_start, window_end;"), @r#"
    error[TC0403]: the stream "plain" has no watermark: this window would never close
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(plain, 10) GROUP BY window_start, window_end;
      |                                            ^^^^^^^^^^^^
      = help: add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of plain

    error[TC0404]: a window goes over a stream, and there is none here
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(devices, 10) GROUP BY window_start, window_end;
      |                                            ^^^^^^^^^^^^
      = help: name the column that its rows go by: TIME => ts

    error[TC0404]: the event time of the stream "readings" is not among the columns of the input
     --> p.sql:3:44
      |
    3 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW((SELECT device_id FROM readings), 10) GROUP BY window_start, window_end;
      |                                            ^^^^^^^^^^^^
      = help: select the column of WATERMARK FOR, unchanged

    error[TC0404]: "later" is not the event time of the stream "readings"
     --> p.sql:4:128
      |
    4 | INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW((SELECT *, ts + INTERVAL '1 hour' AS later FROM readings), 10, TIME => later) GROUP BY window_start, window_end;
      |                                                                                                                                ^^^^^
      = help: a window goes by the column of WATERMARK FOR, which is "ts", unchanged
    "#);
}

#[test]
fn sound_ones() {
    assert_eq!(
        found(
            r"INSERT INTO metrics SELECT window_end FROM COUNT_WINDOW(readings, 10) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end, device_id, avg(temperature) FROM COUNT_WINDOW((SELECT * FROM readings WHERE status = 'ok'), 10, 5) GROUP BY device_id, window_start, window_end;
INSERT INTO metrics SELECT window_end, d.site, max(pressure) AS p FROM STATE_WINDOW(TABLE readings, temperature > 80 AND status = 'on', temperature < 70 OR status IS NULL) AS r
    JOIN devices AS d ON d.device_id = r.device_id GROUP BY d.site, window_start, window_end HAVING max(pressure) > 3;
INSERT INTO metrics SELECT window_end FROM STATE_WINDOW(DATA => readings, START_CONDITION => temperature > 80, END_CONDITION => true, TIME => ts) GROUP BY window_start, window_end;
CREATE ALERT a TO oncall KEY (device_id) RAISE WHEN n > 2 AS SELECT device_id, window_end, count(*) AS n FROM STATE_WINDOW(readings, temperature > 80, temperature < 70) GROUP BY device_id, window_start, window_end;"
        ),
        ""
    );
}
