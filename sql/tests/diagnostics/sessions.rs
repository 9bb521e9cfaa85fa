//! Sessions.

use super::found;

#[test]
fn arguments_of_a_session() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts) GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts, SIZE => INTERVAL '5 minutes') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts, INTERVAL '0 seconds') GROUP BY window_start, window_end;
INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts, INTERVAL '1 month') GROUP BY window_start, window_end;"), @r#"
    error[TC0401]: SESSION needs its gap
     --> p.sql:1:44
      |
    1 | INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts) GROUP BY window_start, window_end;
      |                                            ^^^^^^^
      = help: write SESSION(input, time, INTERVAL 'gap')

    error[TC0401]: SESSION has no argument SIZE
     --> p.sql:2:44
      |
    2 | INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts, SIZE => INTERVAL '5 minutes') GROUP BY window_start, window_end;
      |                                            ^^^^^^^
      = help: write SESSION(input, time, INTERVAL 'gap')

    error[TC0402]: the gap of SESSION must be longer than nothing
     --> p.sql:3:66
      |
    3 | INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts, INTERVAL '0 seconds') GROUP BY window_start, window_end;
      |                                                                  ^^^^^^^^^^^^^^^^^^^^

    error[TC0402]: the gap of SESSION is not a fixed interval
     --> p.sql:4:66
      |
    4 | INSERT INTO metrics SELECT window_end FROM SESSION(readings, ts, INTERVAL '1 month') GROUP BY window_start, window_end;
      |                                                                  ^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: write it in days, hours, minutes or seconds
    "#);
}

#[test]
fn a_session_needs_an_aggregate() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, window_end FROM SESSION(readings, ts, INTERVAL '5 minutes');
INSERT INTO metrics SELECT device_id, count(*) AS n FROM SESSION(readings, ts, INTERVAL '5 minutes') GROUP BY device_id;"), @r#"
    error[TC0316]: the windows of this function depend on other rows, so a row by itself has none
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT device_id, window_end FROM SESSION(readings, ts, INTERVAL '5 minutes');
      |                            ^^^^^^^^^^^^^^^^^^^^^
      = help: aggregate over them: GROUP BY a key, window_start, window_end

    error[TC0307]: this aggregate of a stream would never be complete
     --> p.sql:2:28
      |
    2 | INSERT INTO metrics SELECT device_id, count(*) AS n FROM SESSION(readings, ts, INTERVAL '5 minutes') GROUP BY device_id;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^
      = help: aggregate over a window: FROM TUMBLE(stream, ts, INTERVAL '10 seconds') … GROUP BY …, window_start, window_end
    "#);
}

#[test]
fn above_a_session_rows_run_by_themselves() {
    insta::assert_snapshot!(found(r"INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM SESSION(readings, ts, INTERVAL '5 minutes') GROUP BY device_id, window_start, window_end ORDER BY n LIMIT 3;
INSERT INTO metrics SELECT window_end, max(n) AS most FROM (SELECT device_id, window_end, count(*) AS n FROM SESSION(readings, ts, INTERVAL '5 minutes') GROUP BY device_id, window_start, window_end) GROUP BY window_end;"), @r#"
    error[TC0317]: above SESSION every row runs by itself: there is no set of rows to sort, limit or aggregate
     --> p.sql:1:28
      |
    1 | INSERT INTO metrics SELECT device_id, window_end, count(*) AS n FROM SESSION(readings, ts, INTERVAL '5 minutes') GROUP BY device_id, window_start, window_end ORDER BY n LIMIT 3;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window

    error[TC0317]: above SESSION every row runs by itself: there is no set of rows to sort, limit or aggregate
     --> p.sql:2:28
      |
    2 | INSERT INTO metrics SELECT window_end, max(n) AS most FROM (SELECT device_id, window_end, count(*) AS n FROM SESSION(readings, ts, INTERVAL '5 minutes') GROUP BY device_id, window_start, window_end) GROUP BY window_end;
      |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: INSERT its rows into a stream and aggregate that over a TUMBLE window
    "#);
}
