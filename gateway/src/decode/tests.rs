//! Every format, good and bad rows side by side.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::input::TimestampUnit;

/// 2026-11-22T10:00:00Z.
const NOW_US: i64 = 1_795_341_600_000_000;
const MAX_BYTES: u64 = 64 << 20;

fn readings() -> Arc<RowShape> {
    let schema = Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("temperature", DataType::Float64, true),
        Field::new("count", DataType::Int64, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("status", DataType::Utf8, true),
    ]);
    let event_time = EventTime { column: 1, max_skew_us: Some(60_000_000) };
    Arc::new(RowShape::new("readings", Arc::new(schema), Some(event_time), TimestampUnit::Millisecond))
}

fn decode_text(format: Format, body: impl AsRef<[u8]>) -> Decoded {
    decode(format, &readings(), body.as_ref(), MAX_BYTES, NOW_US).unwrap()
}

fn refusal(format: Format, body: impl AsRef<[u8]>) -> String {
    decode(format, &readings(), body.as_ref(), MAX_BYTES, NOW_US).unwrap_err().to_string()
}

/// The rows as NDJSON without NULLs, for comparison.
fn rows(decoded: &Decoded) -> Vec<String> {
    let mut json = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut json);
    writer.write_batches(&decoded.rows.iter().collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    drop(writer);
    String::from_utf8(json).unwrap().lines().map(str::to_owned).collect()
}

fn reasons(decoded: &Decoded) -> Vec<(u64, &str)> {
    decoded.rejected.first().iter().map(|reason| (reason.line, reason.reason.as_str())).collect()
}

/// The rows that were rejected, as they came.
fn rejected_rows(decoded: Decoded) -> Vec<Vec<u8>> {
    let batch = decoded.rejected.into_batch(NOW_US, "test").unwrap();
    let (text, bytes) = (batch.column(4).as_string::<i32>(), batch.column(5).as_binary::<i32>());
    let row = |i| if text.is_valid(i) { text.value(i).as_bytes().to_vec() } else { bytes.value(i).to_vec() };
    (0..batch.num_rows()).map(row).collect()
}

#[test]
fn ndjson_good_rows_in_any_order_of_keys() {
    let decoded = decode_text(
        Format::Ndjson,
        concat!(
            r#"{"device_id":"a","ts":1000,"temperature":1.5,"count":2,"ok":true,"status":"x \"y\" \u00e9"}"#,
            "\r\n\n  \n",
            r#" { "status" : null , "ts" : "1970-01-01T00:00:01.5Z" , "device_id" : "b" } "#,
            "\n",
            r#"{"ts":"1970-01-01 00:00:02","device\u005fid":"c","extra":{"deep":[1,{}]},"temperature":-3}"#,
        ),
    );
    assert_eq!(
        rows(&decoded),
        [
            r#"{"device_id":"a","ts":"1970-01-01T00:00:01Z","temperature":1.5,"count":2,"ok":true,"status":"x \"y\" é"}"#,
            r#"{"device_id":"b","ts":"1970-01-01T00:00:01.500Z"}"#,
            r#"{"device_id":"c","ts":"1970-01-01T00:00:02Z","temperature":-3.0}"#,
        ]
    );
    assert_eq!((decoded.rejected.len(), decoded.unknown_fields, decoded.lines), (0, 1, 5));
}

#[test]
fn ndjson_bad_rows_do_not_hurt_their_neighbours() {
    let good = r#"{"device_id":"a","ts":1000}"#;
    let bad: [(&[u8], &str); 17] = [
        (b"nonsense", "malformed JSON at byte 1: expected '{' of an object, found 'n'"),
        (b"[1]", "malformed JSON at byte 1: expected '{' of an object, found '['"),
        (
            br#"{"device_id":"a","ts":1000"#,
            "malformed JSON at byte 27: expected ',' or '}' after a value, found the end",
        ),
        (
            br#"{"device_id":"a","ts":1000} x"#,
            "malformed JSON at byte 29: expected nothing after the object, found 'x'",
        ),
        (br#"{"device_id":"a","ts":01}"#, "malformed JSON at byte 24: expected ',' or '}' after a value, found '1'"),
        (br#"{"device_id":"a","ts":1000,}"#, "malformed JSON at byte 28: expected a string, found '}'"),
        (br#"{"device_id":"a","ts":NaN}"#, "malformed JSON at byte 23: expected a value, found 'N'"),
        (br#"{"ts":1000}"#, "column \"device_id\": expected TEXT NOT NULL, found nothing"),
        (br#"{"device_id":null,"ts":1000}"#, "column \"device_id\": expected TEXT NOT NULL, found null"),
        (br#"{"device_id":7,"ts":1000}"#, "column \"device_id\": expected TEXT (a text), found number 7"),
        (
            br#"{"device_id":"a","ts":1,"temperature":"hot"}"#,
            "column \"temperature\": expected DOUBLE (a finite number), found text \"hot\"",
        ),
        (
            br#"{"device_id":"a","ts":1,"count":1.0}"#,
            "column \"count\": expected BIGINT (an integer from -9223372036854775808 to 9223372036854775807), found number 1.0",
        ),
        (br#"{"device_id":"a","ts":1,"ok":1}"#, "column \"ok\": expected BOOLEAN (true or false), found number 1"),
        (
            br#"{"device_id":"a","ts":"soon"}"#,
            "column \"ts\": expected TIMESTAMP (RFC 3339 text or a number of milliseconds in the years 1 to 9999), found text \"soon\"",
        ),
        (br#"{"device_id":"a","device_id":"b","ts":1}"#, "column \"device_id\": expected once, found twice"),
        (
            br#"{"device_id":"a","ts":"2026-11-22T10:01:00.001Z"}"#,
            "column \"ts\": expected an event time at most 60 s after now (2026-11-22T10:00:00Z), found 2026-11-22T10:01:00.001Z",
        ),
        (b"{\"device_id\":\"a\xff\",\"ts\":1}", "expected UTF-8, found other bytes at byte 16"),
    ];
    for (row, reason) in bad {
        let body = [good.as_bytes(), row, good.as_bytes()].join(&b'\n');
        let decoded = decode_text(Format::Ndjson, body);
        assert_eq!(reasons(&decoded), [(2, reason)]);
        assert_eq!(decoded.accepted(), 2);
        assert_eq!(rejected_rows(decoded), [row]);
    }
}

#[test]
fn ndjson_event_time_at_the_bound_is_taken() {
    let decoded = decode_text(Format::Ndjson, r#"{"device_id":"a","ts":"2026-11-22T10:01:00Z"}"#);
    assert_eq!(decoded.accepted(), 1);
}

#[test]
fn ndjson_a_field_of_ten_megabytes() {
    let long = "x".repeat(10 << 20);
    let body = format!(
        "{{\"device_id\":\"{long}\",\"ts\":1}}\n{{\"device_id\":\"a\",\"ts\":\"{long}\"}}\n{{\"device_id\":\"b\",\"ts\":1}}"
    );
    let decoded = decode_text(Format::Ndjson, &body);
    assert_eq!(decoded.accepted(), 2);
    assert!(reasons(&decoded)[0].1.len() < 300, "the reason is cut");
    assert_eq!(rejected_rows(decoded)[0].len(), long.len() + 25, "the row is not");
}

#[test]
fn json_object_and_array() {
    assert_eq!(decode_text(Format::Json, r#" {"device_id":"a","ts":1} "#).accepted(), 1);
    assert_eq!(decode_text(Format::Json, "[]").lines, 0);
    assert_eq!(decode_text(Format::Json, " \n ").lines, 0);
    let decoded = decode_text(
        Format::Json,
        r#"[ {"device_id":"a]\"","ts":1} , 7, {"device_id":"b","ts":nope,"x":[{}]}, {"device_id":"c","ts":2} ] "#,
    );
    assert_eq!(decoded.accepted(), 2);
    assert_eq!(
        reasons(&decoded),
        [
            (2, "malformed JSON at byte 1: expected '{' of an object, found '7'"),
            (3, "malformed JSON at byte 23: expected a value, found 'n'")
        ]
    );
}

#[test]
fn json_whose_brackets_do_not_close_keeps_what_came_before() {
    for (body, number) in [
        (r#"[{"device_id":"a","ts":1}, {"device_id":"b", "#, 2),
        (r#"[{"device_id":"a","ts":1} {"device_id":"b","ts":1}]"#, 2),
        (r#"[{"device_id":"a","ts":1}"#, 2),
        (r#"[{"device_id":"a","ts":1}] trailing"#, 2),
    ] {
        let decoded = decode_text(Format::Json, body);
        assert_eq!((decoded.accepted(), decoded.rejected.len()), (1, 1), "{body}");
        assert_eq!(reasons(&decoded)[0].0, number);
    }
    assert!(refusal(Format::Json, "device").contains("expected an object or an array of objects"));
}

#[test]
fn csv_by_name_with_nulls_and_unknown_columns() {
    let decoded = decode_text(
        Format::Csv,
        "\u{feff}ts,device_id,site,temperature,status\r\n1970-01-01 00:00:01,a,Ulm,1.5,\"\"\r\n\r\n2000,\"b, \"\"c\"\"\",,,\r\n",
    );
    assert_eq!(
        rows(&decoded),
        [
            r#"{"device_id":"a","ts":"1970-01-01T00:00:01Z","temperature":1.5,"status":""}"#,
            r#"{"device_id":"b, \"c\"","ts":"1970-01-01T00:00:02Z"}"#
        ]
    );
    assert_eq!((decoded.unknown_fields, decoded.lines), (2, 4));
}

#[test]
fn csv_bad_rows_do_not_hurt_their_neighbours() {
    let body =
        b"device_id,ts,temperature\na,1,1\nb,1\nc,1,NaN\n,1,1\nd,\"1,1\ne\xff,1,1\nf,1,1,1\n\"g\nh\",1,x\nz,1,1\n";
    let decoded = decode_text(Format::Csv, body);
    assert_eq!(
        reasons(&decoded),
        [
            (3, "expected 3 fields, found 2"),
            (4, "column \"temperature\": expected DOUBLE (a finite number), found \"NaN\""),
            (5, "column \"device_id\": expected TEXT NOT NULL, found null"),
            (6, "malformed CSV: expected quotes only around a whole field, found one inside"),
            (7, "expected UTF-8, found other bytes at byte 2"),
            (8, "expected 3 fields, found 4"),
            (9, "column \"temperature\": expected DOUBLE (a finite number), found \"x\""),
        ]
    );
    assert_eq!(decoded.accepted(), 2);
    assert_eq!(decoded.lines, 11);
    assert_eq!(rejected_rows(decoded)[6], b"\"g\nh\",1,x");
}

#[test]
fn csv_header_at_fault_refuses_the_body() {
    assert!(refusal(Format::Csv, "a,b\n1,2\n").contains("expected a header line with columns of"));
    assert!(refusal(Format::Csv, "ts,device_id,ts\n1,2\n").contains("expected column \"ts\" once, found twice"));
    assert!(refusal(Format::Csv, "ts,\"device_id\n1,2\n").contains("closing quote"));
    assert_eq!(decode_text(Format::Csv, "\n\n").lines, 0);
}

fn ipc(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn sample_batch() -> RecordBatch {
    let dictionary: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> =
        vec![Some("ok"), None, Some("warn"), Some("ok")].into_iter().collect();
    batch(vec![
        ("temperature", Arc::new(arrow::array::Float32Array::from(vec![Some(1.5), None, Some(2.0), Some(3.0)]))),
        ("device_id", Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("d")]))),
        ("ts", Arc::new(Int64Array::from(vec![1000, 2000, 3000, i64::MAX]))),
        ("status", Arc::new(dictionary)),
        ("extra", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
    ])
}

#[test]
fn arrow_stream_by_name_and_cast() {
    let lz4 = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME)).unwrap();
    for options in [IpcWriteOptions::default(), lz4] {
        let decoded = decode_text(Format::ArrowStream, ipc(&[sample_batch(), sample_batch().slice(0, 2)], options));
        let first = r#"{"device_id":"a","ts":"1970-01-01T00:00:01Z","temperature":1.5,"status":"ok"}"#;
        let second = r#"{"device_id":"b","ts":"1970-01-01T00:00:02Z"}"#;
        assert_eq!(rows(&decoded), [first, second, first, second]);
        assert_eq!(
            reasons(&decoded),
            [
                (3, "column \"device_id\": expected TEXT NOT NULL, found null"),
                (
                    4,
                    "column \"ts\": expected TIMESTAMP (RFC 3339 text or a number of milliseconds in the years 1 to 9999), found \"9223372036854775807\""
                ),
            ]
        );
        assert_eq!((decoded.unknown_fields, decoded.lines), (6, 6));
        let raw = String::from_utf8(rejected_rows(decoded)[0].clone()).unwrap();
        assert_eq!(raw, r#"{"temperature":2.0,"ts":3000,"status":"warn","extra":3}"#);
    }
}

#[test]
fn arrow_stream_instants_and_texts_become_timestamps() {
    let nanoseconds =
        arrow::array::TimestampNanosecondArray::from(vec![1_500, NOW_US * 1_000, (NOW_US + 60_000_001) * 1_000]);
    let texts = StringArray::from(vec!["1970-01-01T00:00:00.000001Z", "soon", "2026-11-22 10:00:00"]);
    for (times, good) in [(Arc::new(nanoseconds) as ArrayRef, [1, NOW_US]), (Arc::new(texts), [1, NOW_US])] {
        let names = Arc::new(StringArray::from(vec!["a"; 3]));
        let decoded = decode_text(
            Format::ArrowStream,
            ipc(&[batch(vec![("device_id", names), ("ts", times)])], IpcWriteOptions::default()),
        );
        assert_eq!(decoded.rows[0].column(1).as_primitive::<TimestampMicrosecondType>().values().as_ref(), good);
        assert_eq!(decoded.rejected.len(), 1);
    }
}

#[test]
fn arrow_stream_of_another_schema_is_refused_whole() {
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let send = |columns| refusal(Format::ArrowStream, ipc(&[batch(columns)], IpcWriteOptions::default()));
    let text = send(vec![("device_id", Arc::clone(&names)), ("temperature", Arc::clone(&names))]);
    assert!(text.ends_with("column \"temperature\": expected DOUBLE, found Utf8"), "{text}");
    let count: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let text = send(vec![("count", count)]);
    assert!(text.ends_with("column \"count\": expected BIGINT, found Float64"), "{text}");
    assert!(send(vec![("x", names)]).contains("expected columns of \"device_id, ts"));
}

#[test]
fn arrow_stream_cut_or_too_large_is_refused_whole() {
    let body = ipc(&[sample_batch()], IpcWriteOptions::default());
    let end = body.len() - 8;
    for cut in 1..end {
        assert!(
            decode(Format::ArrowStream, &readings(), &body[..cut], MAX_BYTES, NOW_US)
                .map_or(true, |decoded| decoded.lines == 0)
        );
    }
    assert_eq!(decode_text(Format::ArrowStream, &body[..end]).lines, 4, "the end marker is optional");
    assert_eq!(decode_text(Format::ArrowStream, b"").lines, 0);
    let error = decode(Format::ArrowStream, &readings(), &body, 16, NOW_US).unwrap_err();
    assert!(matches!(error, crate::Error::TooLarge { .. }));

    let bomb: arrow::array::DictionaryArray<arrow::datatypes::Int8Type> =
        std::iter::repeat_n("x".repeat(1 << 20).as_str(), 100).collect();
    let ts: ArrayRef = Arc::new(Int64Array::from(vec![1; 100]));
    let body = ipc(&[batch(vec![("device_id", Arc::new(bomb)), ("ts", ts)])], IpcWriteOptions::default());
    let error = decode(Format::ArrowStream, &readings(), &body, MAX_BYTES, NOW_US).unwrap_err();
    assert!(matches!(error, crate::Error::TooLarge { .. }));
}

#[tokio::test]
async fn a_body_cut_in_parts_is_the_same_body() {
    let good =
        |i: i64| format!("{{\"device_id\":\"dev-{i:04}\",\"ts\":{i},\"temperature\":{i}.5,\"status\":\"ok\"}}\n");
    let lines = (0..100_000).map(|i| if i % 1000 == 7 { "bad\n".to_owned() } else { good(i) });
    let body = Bytes::from(lines.collect::<String>());
    assert!(body.len() > 4 << 20, "it takes several parts");
    let parts = decode_body(Format::Ndjson, &readings(), body.clone(), MAX_BYTES, NOW_US, 2).await.unwrap();
    let whole = decode_text(Format::Ndjson, &body);
    assert!(parts.rows.len() > 1);
    assert_eq!(reasons(&parts), reasons(&whole));
    assert_eq!((parts.lines, parts.accepted()), (whole.lines, whole.accepted()));
    let joined = arrow::compute::concat_batches(readings().schema(), &parts.rows).unwrap();
    assert_eq!(joined, whole.rows[0]);
    assert_eq!(joined.column(2).as_primitive::<Float64Type>().value(0), 0.5);
    let lines =
        |decoded: Decoded| decoded.rejected.into_batch(0, "t").unwrap().column(2).as_primitive::<Int64Type>().clone();
    assert_eq!(lines(parts), lines(whole));
}

#[test]
fn every_type_of_column_takes_its_values() {
    let types = [
        DataType::Utf8View,
        DataType::LargeUtf8,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Date32,
        DataType::Decimal128(10, 2),
        DataType::Binary,
        DataType::Null,
        DataType::new_list(DataType::Int64, true),
    ];
    let fields: Vec<Field> =
        types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true)).collect();
    let shape = Arc::new(RowShape::new("all", Arc::new(Schema::new(fields)), None, TimestampUnit::Millisecond));
    let good = r#"{"c0":"a","c1":"b","c2":-8,"c3":-16,"c4":-32,"c5":8,"c6":16,"c7":32,"c8":64,"c9":0.5,"c10":"1970-01-02","c11":12.34,"c12":"\\x00ff"}"#;
    let body = format!("{good}\n{{}}\n{{\"c13\":1}}\n{{\"c14\":[1]}}");
    let decoded = decode(Format::Ndjson, &shape, body.as_bytes(), MAX_BYTES, NOW_US).unwrap();
    assert_eq!((decoded.accepted(), decoded.rejected.len()), (2, 2));
    assert_eq!(
        rows(&decoded)[0],
        r#"{"c0":"a","c1":"b","c2":-8,"c3":-16,"c4":-32,"c5":8,"c6":16,"c7":32,"c8":64,"c9":0.5,"c10":"1970-01-02","c11":12.34,"c12":"00ff"}"#
    );
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![r#""(device_id|ts|temperature|count|ok|status|extra)""#, r#""[a-z\\"]{0,4}""#,];
    let value = prop_oneof![
        "-?[0-9]{1,15}(\\.[0-9]{1,3})?",
        r#""[ -~é]{0,8}""#,
        "true|false|null|\\{\\}|\\[1,2\\]",
        "\\PC{0,3}"
    ];
    let object = prop::collection::vec((field, value), 0..7).prop_map(|fields| {
        format!("{{{}}}", fields.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>().join(","))
    });
    prop_oneof![
        4 => object.prop_map(String::into_bytes),
        2 => Just(br#"{"device_id":"a","ts":1,"temperature":1.5}"#.to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Rows as programs write them: alike but for fields that are missing, moved, unknown or there twice, and white space.
fn reading() -> impl Strategy<Value = Vec<u8>> {
    let fields = [
        r#""device_id"~:~"dev-0001""#,
        r#""ts"~:~1000"#,
        r#""temperature"~:~-20.125"#,
        r#""count"~:~7"#,
        r#""ok"~:~true"#,
        r#""status"~:~"a \"quoted\" text""#,
        r#""extra"~:~{"deep":[1]}"#,
        r#""device_id"~:~null"#,
    ];
    let all = || fields.map(str::to_owned).to_vec();
    let order = prop_oneof![
        4 => Just(all()[..6].to_vec()),
        3 => prop::sample::subsequence(all(), 2..7),
        1 => Just(all()).prop_shuffle(),
    ];
    let space = prop::sample::select(vec!["", " ", "\t"]);
    (order, space)
        .prop_map(|(fields, space)| format!("{{{}}}", fields.join(&format!(",{space}"))).replace('~', space).into())
}

proptest! {
    #[test]
    fn a_row_means_the_same_after_any_others(lines in prop::collection::vec(prop_oneof![3 => reading(), 1 => line()], 0..20)) {
        prop_assume!(lines.iter().all(|line| !line.contains(&b'\n')));
        let together = decode_text(Format::Ndjson, lines.join(&b'\n'));
        let alone: Vec<_> = lines.iter().map(|line| decode_text(Format::Ndjson, line)).collect();
        prop_assert_eq!(rows(&together), alone.iter().flat_map(rows).collect::<Vec<_>>());
        prop_assert_eq!(together.unknown_fields, alone.iter().map(|decoded| decoded.unknown_fields).sum::<u64>());
        let expected: Vec<_> = alone.iter().flat_map(|decoded| reasons(decoded).into_iter().map(|(_, reason)| reason)).collect();
        let found: Vec<_> = reasons(&together).into_iter().map(|(_, reason)| reason).collect();
        prop_assert_eq!(&found[..], &expected[..found.len()]);
        prop_assert_eq!(together.rejected.len(), expected.len());
    }

    #[test]
    fn ndjson_rows_in_are_rows_out(lines in prop::collection::vec(line(), 0..20)) {
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.contains(&b'\n')).collect();
        let body = lines.join(&b'\n');
        let rows_in = lines.iter().filter(|line| line.iter().any(|b| !b" \t\r".contains(b))).count() as u64;
        let decoded = decode_text(Format::Ndjson, &body);
        prop_assert_eq!(decoded.accepted() + decoded.rejected.len() as u64, rows_in);
        // Decoded alone, each line has the same fate.
        let alone: u64 = lines.iter().map(|line| decode_text(Format::Ndjson, line).accepted()).sum();
        prop_assert_eq!(decoded.accepted(), alone);
    }

    #[test]
    fn ndjson_accepts_only_what_serde_reads(line in line()) {
        if decode_text(Format::Ndjson, &line).accepted() == 1 {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&line).unwrap();
            prop_assert!(object["device_id"].is_string());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Ndjson, Format::Json, Format::Csv, Format::ArrowStream] {
            let _ = decode(format, &readings(), &body, MAX_BYTES, NOW_US);
        }
        let csv = [b"device_id,ts,temperature\n".as_slice(), &body].concat();
        let decoded = decode_text(Format::Csv, &csv);
        prop_assert!(decoded.accepted() + decoded.rejected.len() as u64 <= decoded.lines);
    }

    #[test]
    fn csv_rows_in_are_rows_out(rows in prop::collection::vec("[a-z0-9,. ]{1,12}", 0..20)) {
        let rows_in = rows.iter().filter(|row| !row.trim_ascii().is_empty()).count() as u64;
        let decoded = decode_text(Format::Csv, format!("device_id,ts\n{}", rows.join("\n")));
        prop_assert_eq!(decoded.accepted() + decoded.rejected.len() as u64, rows_in);
    }

    #[test]
    fn json_arrays_rows_in_are_rows_out(lines in prop::collection::vec(line(), 0..8)) {
        let body = [b"[".as_slice(), &lines.join(&b','), b"]"].concat();
        let decoded = decode_text(Format::Json, &body);
        prop_assert_eq!(decoded.accepted() + decoded.rejected.len() as u64, decoded.lines);
    }

    #[test]
    fn damaged_arrow_streams_never_panic(at in 0_usize..1000, byte: u8, compressed: bool) {
        let compression = compressed.then_some(arrow::ipc::CompressionType::LZ4_FRAME);
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut body = ipc(&[sample_batch()], options);
        let at = at % body.len();
        body[at] = byte;
        let _ = decode(Format::ArrowStream, &readings(), &body, MAX_BYTES, NOW_US);
    }
}
