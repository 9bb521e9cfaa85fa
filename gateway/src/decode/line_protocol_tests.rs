use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use proptest::prelude::*;

use super::super::shape::EventTime;
use super::*;
use crate::input::TimestampUnit;

const NOW_US: i64 = 1_795_341_600_000_000;

fn shape(name: &str) -> Arc<RowShape> {
    let schema = Schema::new(vec![
        Field::new("device id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, true),
        Field::new("count", DataType::Int64, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("text", DataType::Utf8, true),
    ]);
    let event_time = EventTime { column: 1, max_skew_us: Some(1_000_000) };
    Arc::new(RowShape::new(name, Arc::new(schema), Some(event_time), TimestampUnit::Millisecond))
}

fn lines(body: impl AsRef<[u8]>, precision: Precision) -> DecodedLines<String> {
    let find = |name: &str| matches!(name, "cpu" | "my stream").then(|| (name.to_owned(), shape(name)));
    decode_lines(body.as_ref(), precision, NOW_US, find).unwrap()
}

/// The one stream that a body is for.
fn one(body: impl AsRef<[u8]>) -> Decoded {
    let mut lines = lines(body, Precision::Nanosecond);
    assert_eq!((lines.streams.len(), lines.homeless), (1, 0));
    lines.streams.remove(0).1
}

fn reason(line: &str) -> String {
    let decoded = one(format!("cpu,device\\ id=a value=1 1\n{line}\ncpu,device\\ id=b value=2 2"));
    assert_eq!(decoded.accepted(), 2, "the neighbours of {line}");
    let [reason] = decoded.rejected.first() else { panic!("{line} was not rejected") };
    assert_eq!(reason.line, 2);
    reason.reason.clone()
}

#[test]
fn all_kinds_of_fields_and_escapes() {
    let decoded = one(concat!(
        "# a comment\n\n",
        r#"cpu,device\ id=a\,\ b\=c,zone=eu value=1.5,count=42i,ok=T,text="say \"hi\", a=b \\ c" 1000000000"#,
        "\r\n",
        "  cpu,device\\ id=b value=-1e3,count=7u,ok=False,text=\"\"   2000000000  \n",
        r"cpu,device\ id=c\d value=3 3000000000",
    ));
    let rows = &decoded.rows[0];
    assert_eq!(decoded.rejected.first(), []);
    assert_eq!(rows.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a, b=c", "b", "c\\d"]);
    assert_eq!(
        rows.column(1).as_primitive::<TimestampMicrosecondType>().values().as_ref(),
        [1_000_000, 2_000_000, 3_000_000]
    );
    assert_eq!(rows.column(2).as_primitive::<Float64Type>().values().as_ref(), [1.5, -1000.0, 3.0]);
    assert_eq!(rows.column(3).as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>(), [42, 7]);
    assert_eq!(rows.column(4).as_boolean().iter().flatten().collect::<Vec<_>>(), [true, false]);
    assert_eq!(rows.column(5).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), [r#"say "hi", a=b \ c"#, ""]);
    assert_eq!(decoded.unknown_fields, 1);
}

#[test]
fn a_text_may_hold_line_feeds() {
    let decoded =
        one("cpu,device\\ id=a text=\"two\nlines\" 1\ncpu,device\\ id=b value=x 2\ncpu,device\\ id=c value=1 3");
    assert_eq!(decoded.rows[0].column(5).as_string::<i32>().value(0), "two\nlines");
    assert_eq!(decoded.rejected.first()[0].line, 3);
    assert_eq!(decoded.lines, 4);
}

#[test]
fn timestamps_by_precision_or_clock() {
    for (precision, text, us) in [
        ("ns", "1500", 1),
        ("n", "-1", -1),
        ("us", "5", 5),
        ("u", "5", 5),
        ("ms", "5", 5_000),
        ("s", "5", 5_000_000),
        ("m", "5", 300_000_000),
        ("h", "5", 18_000_000_000),
        ("s", "", NOW_US),
    ] {
        let body = format!("cpu,device\\ id=a value=1 {text}");
        let decoded = lines(&body, Precision::parse(precision).unwrap());
        let times = decoded.streams[0].1.rows[0].column(1).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.value(0), us, "{text} {precision}");
    }
    assert_eq!(Precision::parse("minutes"), None);
    let by_field = one("cpu,device\\ id=a ts=\"1970-01-01T00:00:01Z\"");
    assert_eq!(by_field.rows[0].column(1).as_primitive::<TimestampMicrosecondType>().value(0), 1_000_000);
}

#[test]
fn bad_lines_do_not_hurt_their_neighbours() {
    assert_eq!(reason("cpu,device\\ id=a"), "expected field=value, found \"\"");
    assert_eq!(reason("cpu,device\\ id= value=1"), "tag \"device id\": expected a value, found \" value=1\"");
    assert_eq!(reason("cpu,device\\ id=a value"), "expected field=value, found \"value\"");
    assert_eq!(reason("cpu,device\\ id=a value=1 soon"), "expected an integer timestamp, found \"soon\"");
    assert_eq!(reason("cpu,device\\ id=a value=1 1 2"), "expected an integer timestamp, found \"1 2\"");
    assert_eq!(
        reason("cpu,device\\ id=a value=1x 1"),
        "field \"value\": expected a number, a quoted text, true or false, found \"1x\""
    );
    assert_eq!(
        reason("cpu,device\\ id=a value=NaN 1"),
        "field \"value\": expected a number, a quoted text, true or false, found \"NaN\""
    );
    assert_eq!(
        reason("cpu,device\\ id=a count=1.5 1").split(',').next().unwrap(),
        "column \"count\": expected BIGINT (an integer from -9223372036854775808 to 9223372036854775807)"
    );
    assert_eq!(reason("cpu,device\\ id=a text=\"open 1"), "field \"text\": expected a closing quote, found the end");
    assert_eq!(reason("cpu value=1 1"), "column \"device id\": expected TEXT NOT NULL, found nothing");
    assert_eq!(reason("cpu,device\\ id=a,device\\ id=b value=1 1"), "column \"device id\": expected once, found twice");
    assert_eq!(reason("cpu,device\\ id=a ts=5 1"), "column \"ts\": expected once, found twice");
    assert!(reason("cpu,device\\ id=a value=1 1795341601001000000").contains("at most 1 s after now"));
    assert!(reason("cpu,device\\ id=a value=1 \"x").starts_with("expected an integer timestamp"));
}

#[test]
fn lines_by_stream_and_lines_without_one() {
    let body = b"cpu,device\\ id=a value=1 1\nmy\\ stream,device\\ id=b value=2 2\ndisk free=1\n,x=1\ncpu,device\\ id=c\xff value=1 1\nd\xff f=1";
    let lines = lines(body, Precision::Nanosecond);
    let of = |i: usize| (lines.streams[i].0.as_str(), lines.streams[i].1.accepted(), lines.streams[i].1.rejected.len());
    assert_eq!((of(0), of(1)), (("cpu", 1, 1), ("my stream", 1, 0)));
    assert_eq!(lines.homeless, 3);
    let reasons: Vec<_> = lines.first_homeless.iter().map(|reason| (reason.line, reason.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [(3, "no stream named \"disk\""), (4, "expected a measurement, found \",x=1\""), (6, "no stream named \"d\"")]
    );
}

proptest! {
    #[test]
    fn never_panics_and_loses_nothing(body in prop::collection::vec(
        prop_oneof!["cpu[a-z\"=, \\\\0-9.]{0,30}", "(cpu|x),device\\\\ id=a value=[0-9]{1,3}", "\\PC{0,20}"], 0..10)) {
        let rows_in = body.iter().filter(|line| !matches!(line.trim_ascii_start().as_bytes().first(), None | Some(b'#'))).count() as u64;
        let has_texts = body.iter().any(|line| line.contains('"'));
        let lines = lines(body.join("\n"), Precision::Nanosecond);
        let taken: u64 = lines.streams.iter().map(|(_, decoded)| decoded.accepted() + decoded.rejected.len() as u64).sum();
        prop_assert!(taken + lines.homeless <= rows_in);
        // Only a text may join lines.
        prop_assert!(has_texts || taken + lines.homeless == rows_in);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let body = [b"cpu,".as_slice(), &body].concat();
        let _ = lines(body, Precision::Second);
    }
}
