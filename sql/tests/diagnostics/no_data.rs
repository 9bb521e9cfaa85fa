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
CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '5 minutes' AS SELECT * FROM readings;"), @"");
}

#[test]
fn rows() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM plain;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS
SELECT device_id, window_end, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end;
CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' AS SELECT * FROM readings ALLOW LATENESS INTERVAL '1 minute';"), @"");
}

#[test]
fn expected_keys() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM devices) AS SELECT * FROM readings;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM readings) AS SELECT * FROM readings;
CREATE ALERT c TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id AS device FROM devices) AS SELECT * FROM readings;
CREATE ALERT d TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT since AS device_id FROM devices) AS SELECT * FROM readings;
CREATE ALERT e TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id, sit FROM devices) AS SELECT * FROM readings;"), @"");
}

#[test]
fn forgetting() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET AFTER INTERVAL '1 day' AS SELECT * FROM readings;
CREATE ALERT b TO oncall KEY (device_id) RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT device_id FROM devices)
FORGET AFTER INTERVAL '1 day' AS SELECT * FROM readings;"), @"");
}

#[test]
fn syntax() {
    insta::assert_snapshot!(found(r"CREATE ALERT a TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING devices AS SELECT * FROM readings;
CREATE ALERT b TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' EXPECTING (SELECT 1) EXPECTING (SELECT 1) AS SELECT * FROM readings;
CREATE ALERT c TO oncall RAISE WHEN NO DATA FOR INTERVAL '5 minutes' FORGET INTERVAL '1 day' AS SELECT * FROM readings;"), @"");
}
