//! Silence by script; see `ordered/tests.rs`. A row that is emitted says whether its key is raised, and when.

use crate::ordered::tests::run;

const SILENT: &str = "CREATE ALERT a TO out KEY (device) RAISE WHEN NO DATA FOR INTERVAL '5 seconds'
    AS SELECT device, v FROM readings";
const EXPECTED: &str = "CREATE ALERT a TO out KEY (device) RAISE WHEN NO DATA FOR INTERVAL '5 seconds'
    EXPECTING (SELECT device FROM devices) AS SELECT device, v FROM readings";

#[tokio::test]
async fn a_key_is_raised_when_time_has_passed_its_interval_and_cleared_by_its_next_row() {
    let script = "
        readings 1 a 1
        readings 2 b 2
        readings 6 a 3
        readings 7.000001 b 4
        watermark 7
        watermark 11
        watermark 11.000001
        watermark 12.000002
        readings 13 b 5
        readings 12.5 a 6
        readings 19 c -
        watermark 60
    ";
    insta::assert_snapshot!(run(SILENT, script).await, @r#"
    watermark 7
    watermark 11
      b 2.0 true 07
      b 4.0 false 07.000001
    watermark 11.000001
      a 3.0 true 11
    watermark 12.000002
      b 4.0 true 12.000001
    watermark 60
      a 6.0 false 12.500
      b 5.0 false 13
      a 6.0 true 17.500
      b 5.0 true 18
      c - true 24
    "#);
}

#[tokio::test]
async fn rows_out_of_order_leave_no_gap() {
    let script = "
        readings 1 a 1
        readings 9 a 3
        readings 5 a 2
        watermark 8
        watermark 15
    ";
    insta::assert_snapshot!(run(SILENT, script).await, @r#"
    watermark 8
    watermark 15
      a 3.0 true 14
    "#);
}

#[tokio::test]
async fn only_a_row_that_clears_ends_it_and_one_that_does_not_is_heard_all_the_same() {
    let query = "CREATE ALERT a TO out KEY (device) RAISE WHEN NO DATA FOR INTERVAL '5 seconds' FORGET AFTER INTERVAL '20 seconds'
        CLEAR WHEN v > 0 AS SELECT device, v FROM readings";
    let script = "
        readings 1 a 1
        readings 2 b 1
        watermark 10
        readings 12 a -
        readings 13 a 0
        readings 15 c 1
        watermark 22
        readings 25 a 5
        watermark 40
        watermark 99
    ";
    insta::assert_snapshot!(run(query, script).await, @r#"
    watermark 10
      a 1.0 true 06
      b 1.0 true 07
    watermark 22
      c 1.0 true 20
    watermark 40
      b 1.0 false 22
      a 5.0 false 25
      a 5.0 true 30
      c 1.0 false 35
    watermark 99
      a 5.0 false 45
    "#);
}

#[tokio::test]
async fn expected_keys_are_silent_from_the_beginning_and_others_are_not_watched() {
    let script = "
        expect a b never
        begin 1
        readings 1 a 1
        readings 2 stranger 1
        readings 5 b 2
        watermark 8
        expect a b never new since 8
        expect a b new since 8
        watermark 20
        expect b since 20
        readings 21 a 1
        readings 22 b 1
        watermark 40
    ";
    insta::assert_snapshot!(run(EXPECTED, script).await, @r#"
    watermark, and expect a b never
    watermark, and begin 1
    watermark 8
      a 1.0 true 06
      never - true 06
    watermark, and expect a b never new since 8
    watermark, and expect a b new since 8
      never - false 08
    watermark 20
      b 2.0 true 10
      new - true 13
    watermark, and expect b since 20
      a 1.0 false 20
      new - false 20
    watermark 40
      b 1.0 false 22
      b 1.0 true 27
    "#);
}

#[tokio::test]
async fn while_nothing_comes_the_clock_goes_on() {
    let script = "
        expect a b never
        silent 1000
        begin 1
        readings 1 a 1
        readings 3 b 1
        watermark 3.000001
        silent 8
        silent 8.1
        silent 9
        readings 4 a 2
        readings 4 never 2
        readings 9.5 a 3
        watermark 9
        watermark 12
    ";
    insta::assert_snapshot!(run(EXPECTED, script).await, @r#"
    watermark, and expect a b never
    watermark, and silent 1000
      a - true 40
      b - true 40
      never - true 40
    watermark, and begin 1
    watermark 3.000001
      a 1.0 false 40
      b 1.0 false 40
    watermark, and silent 8
      a 1.0 true 06
    watermark, and silent 8.1
      b 1.0 true 08
    watermark, and silent 9
    watermark 9
      a 2.0 false 06
      never 2.0 false 40
    watermark 12
      a 2.0 true 09
      never 2.0 true 09
      a 3.0 false 09.500
    "#);
}

#[tokio::test]
async fn nobody_was_silent_while_the_engine_was_down() {
    // The gap is longer than the interval: everybody but who was raised before gets a whole interval again.
    let script = "
        readings 1 gone 1
        readings 6 a 1
        readings 6.5 b 1
        watermark 6.5
        down 7.000001
        up 3600
        readings 6.5 last 1
        readings 3600 a 2
        readings 3604 c 2
        watermark 3602
        watermark 3607
    ";
    insta::assert_snapshot!(run(SILENT, script).await, @r#"
    watermark 6.5
      gone 1.0 true 06
    watermark, and down 7.000001
    watermark, and up 3600
    watermark 3602
    watermark 3607
      a 2.0 true 05
      b 1.0 true 05
      last 1.0 true 05
    "#);
    // The gap is short: it counts.
    let script = "
        readings 1 a 1
        readings 4 b 1
        watermark 4
        down 4.000001
        up 7.5
        readings 7.5 b 2
        watermark 8
    ";
    insta::assert_snapshot!(run(SILENT, script).await, @r#"
    watermark 4
    watermark, and down 4.000001
    watermark, and up 7.5
    watermark 8
      a 1.0 true 06
    "#);
    // Nothing comes after it either, says the clock.
    let script = "
        readings 1 a 1
        watermark 1
        down 1.000001
        watermark 1.000001
        silent 7
        up 8
        readings 8 b 1
        watermark 9
    ";
    insta::assert_snapshot!(run(SILENT, script).await, @r#"
    watermark 1
    watermark, and down 1.000001
    watermark 1.000001
    watermark, and silent 7
    watermark, and up 8
    watermark 9
      a 1.0 true 06
    "#);
}

#[tokio::test]
async fn without_a_key_there_is_one_that_is_watched_from_the_beginning() {
    let query = "CREATE ALERT a TO out RAISE WHEN NO DATA FOR INTERVAL '5 seconds' AS SELECT v, device FROM readings WHERE v > 0";
    let script = "
        expect -
        begin 1
        readings 1 a 0
        readings 5 a 0
        watermark 6
        watermark 7
        readings 8 a 3
        watermark 9
    ";
    insta::assert_snapshot!(run(query, script).await, @r#"
    watermark, and expect -
    watermark, and begin 1
    watermark 6
    watermark 7
      - - true 06
    watermark 9
      3.0 a false 08
    "#);
}
