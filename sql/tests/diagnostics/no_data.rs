//! `RAISE WHEN NO DATA FOR`.

use super::found;

#[test]
fn what_can_be_watched() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' CLEAR WHEN temperature > 0
    SEVERITY 'critical' SUMMARY device_id || ' is silent since ' || ts AS SELECT device_id, ts, temperature FROM readings;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes'
    EXPECTING (SELECT device_id, site FROM devices WHERE site <> 'stock') SUMMARY device_id || ' at ' || site
AS SELECT r.device_id, d.site FROM readings AS r JOIN devices AS d ON d.device_id = r.device_id;
CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings;
CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '7 days' AS SELECT * FROM readings;"), @"");
}

#[test]
fn intervals() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '0 minutes' AS SELECT * FROM readings;
CREATE ALERT b TO oncall RAISE WHEN NO DATA FOR INTERVAL '1 month' AS SELECT * FROM readings;
CREATE ALERT c TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '-1 days' AS SELECT * FROM readings;
CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '5 minutes' AS SELECT * FROM readings;"), @r#"
    error[TC0420]: the interval of NO DATA FOR must be longer than nothing
     --> p.sql:1:49
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '0 minutes' AS SELECT * FROM readings;
      |                                                 ^^^^^^^^^^^^^^^^^^^^
      = help: write it like INTERVAL '5 minutes'

    error[TC0420]: NO DATA FOR takes a fixed interval
     --> p.sql:2:49
      |
    2 | CREATE ALERT b TO oncall RAISE WHEN NO DATA FOR INTERVAL '1 month' AS SELECT * FROM readings;
      |                                                 ^^^^^^^^^^^^^^^^^^
      = help: months and years differ in length: write it in days, hours, minutes or seconds

    error[TC0420]: the interval of FORGET AFTER must be longer than nothing
     --> p.sql:3:99
      |
    3 | CREATE ALERT c TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '-1 days' AS SELECT * FROM readings;
      |                                                                                                   ^^^^^^^^^^^^^^^^^^
      = help: write it like INTERVAL '5 minutes'

    error[TC0420]: a key would be forgotten before its silence is noticed
     --> p.sql:4:99
      |
    4 | CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '5 minutes' AS SELECT * FROM readings;
      |                                                                                                   ^^^^^^^^^^^^^^^^^^^^
      = help: FORGET AFTER takes a longer interval than NO DATA FOR
    "#);
}

#[test]
fn rows() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM plain;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS
SELECT device_id, window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;
CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings ALLOW LATENESS INTERVAL '1 minute';"), @r#"
    error[TC0422]: the stream "plain" has no watermark: nothing says how far its time has got
     --> p.sql:1:73
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM plain;
      |                                                                         ^^^^^^
      = help: add WATERMARK FOR ts AS ts - INTERVAL '2 seconds' to the columns of plain

    error[TC0421]: NO DATA FOR watches the rows of a stream as they come
     --> p.sql:3:1
      |
    3 | SELECT device_id, window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;
      | ^^^^^^
      = help: read the stream itself, with WHERE and reference tables at most; or write this query into a stream that has a WATERMARK with INSERT INTO, and watch that

    error[TC0407]: only the results of TUMBLE, HOP and CUMULATE are emitted early or corrected
     --> p.sql:4:96
      |
    4 | CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings ALLOW LATENESS INTERVAL '1 minute';
      |                                                                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: leave the clause out: every row is emitted at once
    "#);
}

#[test]
fn expected_keys() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM devices) AS SELECT * FROM readings;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM readings) AS SELECT * FROM readings;
CREATE ALERT c TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id AS device FROM devices) AS SELECT * FROM readings;
CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT since AS device_id FROM devices) AS SELECT * FROM readings;
CREATE ALERT e TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id, sit FROM devices) AS SELECT * FROM readings;"), @r#"
    error[TC0425]: EXPECTING needs a KEY
     --> p.sql:1:81
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM devices) AS SELECT * FROM readings;
      |                                                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add KEY and the columns that tell the expected ones apart

    error[TC0423]: "readings" is a stream: what is expected must be known before it is heard
     --> p.sql:2:97
      |
    2 | CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM readings) AS SELECT * FROM readings;
      |                                                                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: EXPECTING takes a query over reference tables (CREATE TABLE)

    error[TC0424]: the query of EXPECTING has no column "device_id", which is in KEY
     --> p.sql:3:97
      |
    3 | CREATE ALERT c TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id AS device FROM devices) AS SELECT * FROM readings;
      |                                                                                                 ^^^^^^
      = help: did you mean "device"?

    error[TC0424]: "device_id" is TIMESTAMP in the query of EXPECTING, and TEXT in the alert's query
     --> p.sql:4:97
      |
    4 | CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT since AS device_id FROM devices) AS SELECT * FROM readings;
      |                                                                                                 ^^^^^^
      = help: CAST(device_id AS TEXT) AS device_id makes it that

    error[TC0102]: no column "sit" in devices
     --> p.sql:5:115
      |
    5 | CREATE ALERT e TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id, sit FROM devices) AS SELECT * FROM readings;
      |                                                                                                                   ^^^
      = help: did you mean "site"?
    "#);
}

#[test]
fn forgetting() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '1 day' AS SELECT * FROM readings;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM devices)
FORGET AFTER INTERVAL '1 day' AS SELECT * FROM readings;"), @r#"
    error[TC0426]: without KEY there is nothing to forget
     --> p.sql:1:83
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '1 day' AS SELECT * FROM readings;
      |                                                                                   ^^^^^^^^^^^^^^^^
      = help: leave FORGET AFTER out, or add KEY and its columns

    error[TC0426]: an expected key is not forgotten
     --> p.sql:3:14
      |
    3 | FORGET AFTER INTERVAL '1 day' AS SELECT * FROM readings;
      |              ^^^^^^^^^^^^^^^^
      = help: leave FORGET AFTER out: a key is forgotten when the query of EXPECTING has it no more
    "#);
}

#[test]
fn syntax() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING devices AS SELECT * FROM readings;
CREATE ALERT b TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT 1) EXPECTING (SELECT 1) AS SELECT * FROM readings;
CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET INTERVAL '1 day' AS SELECT * FROM readings;"), @r#"
    error[TC0002]: expected "(" and a query over reference tables
     --> p.sql:1:80
      |
    1 | CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING devices AS SELECT * FROM readings;
      |                                                                                ^^^^^^^ found devices

    error[TC0005]: EXPECTING is given twice
     --> p.sql:2:91
      |
    2 | CREATE ALERT b TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT 1) EXPECTING (SELECT 1) AS SELECT * FROM readings;
      |                                                                                           ^^^^^^^^^

    error[TC0002]: expected TO, KEY, RAISE WHEN, CLEAR WHEN, SEVERITY, SUMMARY, or AS and a query
     --> p.sql:3:70
      |
    3 | CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET INTERVAL '1 day' AS SELECT * FROM readings;
      |                                                                      ^^^^^^ found FORGET
    "#);
}
