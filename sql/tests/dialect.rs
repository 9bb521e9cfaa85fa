//! The dialect's main example checks clean, and means what it says.

#![allow(clippy::unwrap_used)]

use arrow::datatypes::DataType;
use thermocline_sql::{
    AlertRule, CalendarExtent, CalendarLength, CalendarWindow, Checked, OptionValue, QueryShape, SourceFile,
    TableFormat, Target, TimeZone, TimestampUnit, Window, check, timestamp_type,
};

/// The example of the dialect's documentation.
const EXAMPLE: &str = include_str!("example.sql");

fn checked(texts: &[&str]) -> (Checked, Vec<SourceFile>) {
    let files: Vec<SourceFile> = (texts.iter().enumerate())
        .map(|(n, text)| SourceFile { path: format!("plant/{n}.sql").into(), text: (*text).to_owned() })
        .collect();
    (check(&files, &|_| None), files)
}

#[test]
fn the_example_is_sound() {
    let (checked, files) = checked(&[EXAMPLE]);
    let shown: Vec<String> = checked.diagnostics.iter().map(|diagnostic| diagnostic.render(&files)).collect();
    // The table's file is not there.
    assert_eq!(checked.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["TC0701"], "{}", shown.join("\n"));
    let pipeline = checked.pipeline.unwrap();

    let readings = &pipeline.streams["readings"];
    assert_eq!(readings.schema.field(1).data_type(), &timestamp_type());
    assert_eq!(readings.schema.field(2).data_type(), &DataType::Float64);
    assert!(!readings.schema.field(0).is_nullable() && readings.schema.field(2).is_nullable());
    assert_eq!(readings.partitions, 4);
    assert_eq!(readings.retention.unwrap().as_secs(), 7 * 86_400);
    assert_eq!(readings.partition_by, ["device_id"]);
    assert_eq!(readings.timestamp_unit, TimestampUnit::Millisecond);
    let event_time = readings.event_time.as_ref().unwrap();
    assert_eq!((event_time.column, event_time.delay_us), (1, 2_000_000));
    assert_eq!(event_time.max_skew_us, Some(3_600_000_000));
    assert_eq!(readings.options["mqtt.topic"].value, OptionValue::Literal("plant/+device_id/readings".into()));

    let devices = &pipeline.tables["devices"];
    assert_eq!(devices.location, std::path::Path::new("plant/devices.csv"));
    assert_eq!(devices.format, TableFormat::Csv);
    assert_eq!(devices.primary_key, ["device_id"]);

    let oncall = &pipeline.sinks["oncall"];
    assert_eq!(oncall.options["routing_key"].value, OptionValue::Secret("PAGERDUTY_ROUTING_KEY".into()));

    let names: Vec<_> = pipeline.queries.iter().map(|query| (query.name.as_str(), &query.target)).collect();
    assert_eq!(names, [("metrics", &Target::Sink("metrics".into())), ("archive", &Target::Sink("archive".into()))]);
    let QueryShape::Windowed(metrics) = &pipeline.queries[0].shape else { panic!("a windowed query") };
    assert_eq!(metrics.window, Window::Tumble { size_us: 10_000_000, offset_us: 0 });
    assert!(matches!(&pipeline.queries[1].shape, QueryShape::Stateless { stream, .. } if stream == "readings"));

    let overheating = &pipeline.alerts["overheating"];
    assert_eq!(overheating.sink, "oncall");
    assert_eq!(overheating.key, [0]);
    let AlertRule::When(rule) = &overheating.rule else { panic!("{:?}", overheating.rule) };
    assert_eq!(rule.hold_us, 30_000_000);
    assert_eq!(overheating.plan.schema().field(rule.time).name(), "window_end");
    let QueryShape::Windowed(shape) = &overheating.shape else { panic!("a windowed query") };
    assert_eq!(shape.window, Window::Hop { slide_us: 10_000_000, size_us: 60_000_000, offset_us: 0 });
}

#[test]
fn statements_may_stand_in_any_order_and_file() {
    let statements: Vec<&str> = EXAMPLE.split_inclusive(';').rev().collect();
    let (checked, _) = checked(&statements);
    assert_eq!(checked.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["TC0701"]);
}

/// A stream with an event time, and a sink.
const BASE: &str = "
CREATE STREAM readings (device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH (max_skew = 'none', idle_timeout = '1 minute');
CREATE STREAM hourly (device_id TEXT NOT NULL, ts TIMESTAMP, peak DOUBLE, n BIGINT, note TEXT);
CREATE SINK out WITH (connector = 'console');
";

/// The pipeline of statements that have no mistake.
fn sound(text: &str) -> thermocline_sql::Pipeline {
    let (checked, files) = checked(&[BASE, text]);
    let shown: Vec<String> = checked.diagnostics.iter().map(|diagnostic| diagnostic.render(&files)).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    checked.pipeline.unwrap()
}

fn window(pipeline: &thermocline_sql::Pipeline, n: usize) -> Window {
    match &pipeline.queries[n].shape {
        QueryShape::Windowed(shape) => shape.window.clone(),
        _ => panic!("a windowed query"),
    }
}

#[test]
fn windows_are_written_in_many_ways() {
    let select = "INSERT INTO out SELECT window_end, count(*) AS n FROM";
    let by = "GROUP BY window_start, window_end";
    let tumble = [
        "TUMBLE(readings, ts, INTERVAL '10 seconds', INTERVAL '3 seconds')",
        "TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND)",
        "TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND))",
        "TUMBLE(DATA => TABLE readings, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10 seconds', offset => INTERVAL '3 seconds') AS w",
        "tumble((SELECT * FROM readings WHERE temperature > 1), ts, interval '10 seconds', interval '3 seconds') AS w",
        "tumble(v, ts, interval '10 seconds', interval '3 seconds')",
    ];
    let mut text = "CREATE VIEW v AS SELECT ts, r.device_id AS d FROM readings AS r;\n".to_owned();
    tumble.iter().for_each(|input| text.push_str(&format!("{select} {input} {by};\n")));
    let pipeline = sound(&text);
    for n in 0..tumble.len() {
        assert_eq!(window(&pipeline, n), Window::Tumble { size_us: 10_000_000, offset_us: 3_000_000 });
    }
    let hop = [
        "HOP(readings, ts, INTERVAL '250 milliseconds', INTERVAL '1 second')",
        "HOP(readings, ts, SIZE => INTERVAL '1 second', SLIDE => INTERVAL '250 milliseconds')",
    ];
    let text: String = hop.iter().map(|input| format!("{select} {input} {by} EMIT ON WINDOW CLOSE;\n")).collect();
    let pipeline = sound(&text);
    for n in 0..hop.len() {
        assert_eq!(window(&pipeline, n), Window::Hop { slide_us: 250_000, size_us: 1_000_000, offset_us: 0 });
    }
    assert_eq!(pipeline.queries[1].name, "out.2");
    let cumulate = [
        "CUMULATE(readings, ts, INTERVAL '10 minutes', INTERVAL '1 hour')",
        "TABLE(CUMULATE(TABLE readings, DESCRIPTOR(ts), INTERVAL '10' MINUTES, INTERVAL '1' HOUR))",
        "CUMULATE(DATA => TABLE readings, TIMECOL => DESCRIPTOR(ts), STEP => INTERVAL '10 minutes', SIZE => INTERVAL '1 hour')",
    ];
    let text: String = cumulate.iter().map(|input| format!("{select} {input} {by};\n")).collect();
    let pipeline = sound(&text);
    let expected = Window::Cumulate { step_us: 600_000_000, size_us: 3_600_000_000, offset_us: 0 };
    for n in 0..cumulate.len() {
        assert_eq!(window(&pipeline, n), expected);
    }
}

#[test]
fn time_zones_are_written_in_many_ways() {
    let windows = [
        "TUMBLE(readings, ts, INTERVAL '1 day' TIME ZONE 'Europe/Berlin')",
        "TUMBLE(readings, ts, INTERVAL '1 day', TIME ZONE 'Europe/Berlin')",
        "tumble(readings, ts, interval '1' day time zone 'europe/berlin') as w",
        "TUMBLE(readings, ts, SIZE => INTERVAL '1 day', TIME_ZONE => 'Europe/Berlin')",
        "TUMBLE(readings, ts, TIME ZONE => 'Europe/Berlin', SIZE => INTERVAL '24 hours')",
        "TUMBLE((SELECT * FROM readings WHERE ts AT TIME ZONE 'UTC' IS NOT NULL), ts, INTERVAL '1 day' TIME ZONE 'Europe/Berlin')",
    ];
    let select = "INSERT INTO out SELECT window_end, count(*) AS n FROM";
    let text: String = windows.iter().map(|w| format!("{select} {w} GROUP BY window_start, window_end;\n")).collect();
    let pipeline = sound(&text);
    let zone = TimeZone::named("Europe/Berlin").unwrap();
    for n in 0..windows.len() {
        let (step, extent) = (CalendarLength::Days(1), CalendarExtent::Steps(1));
        assert_eq!(window(&pipeline, n), Window::Calendar(CalendarWindow { zone, step, extent, offset_us: 0 }));
    }
}

#[test]
fn rows_of_a_stream_have_its_columns() {
    let pipeline = sound(
        "INSERT INTO hourly (n, device_id, peak)
         SELECT 1, device_id, max(temperature) FROM TUMBLE(readings, ts, INTERVAL '1 hour')
         GROUP BY device_id, window_end HAVING max(temperature) > 10;",
    );
    let query = &pipeline.queries[0];
    assert_eq!(query.target, Target::Stream("hourly".into()));
    let target = &pipeline.streams["hourly"].schema;
    let columns = |schema: &arrow::datatypes::Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    assert_eq!(columns(query.plan.schema().inner()), columns(target));
}

#[test]
fn views_are_inlined_and_may_be_used_by_views() {
    let pipeline = sound(
        "CREATE VIEW hot AS SELECT * FROM warm WHERE temperature > 50;
         CREATE VIEW warm AS SELECT device_id, ts, temperature FROM readings WHERE temperature > 20;
         INSERT INTO out SELECT h.device_id, upper(h.device_id) AS name FROM hot AS h;",
    );
    assert_eq!(pipeline.views["warm"].sql, "SELECT device_id, ts, temperature FROM readings WHERE temperature > 20");
    assert!(matches!(&pipeline.queries[0].shape, QueryShape::Stateless { stream, .. } if stream == "readings"));
}

#[test]
fn an_alert_may_look_at_rows_of_a_stream() {
    let pipeline = sound(
        "CREATE ALERT hot TO out RAISE WHEN temperature > 80 AND status = 'ok'
         AS SELECT *, 'ok' AS status FROM readings;
         CREATE SINK copy WITH (connector = 'console', Pretty = TRUE) AS SELECT * FROM readings;",
    );
    let hot = &pipeline.alerts["hot"];
    let AlertRule::When(rule) = &hot.rule else { panic!("{:?}", hot.rule) };
    assert_eq!((rule.time, rule.hold_us, hot.key.len()), (1, 0, 0));
    assert!(rule.clear.is_none() && hot.severity.is_none() && hot.summary.is_none());
    assert_eq!(pipeline.queries[0].name, "copy");
    assert_eq!(pipeline.sinks["copy"].options["pretty"].value, OptionValue::Literal("true".into()));
    let event_time = pipeline.streams["readings"].event_time.clone().unwrap();
    assert_eq!((event_time.max_skew_us, event_time.idle_timeout.unwrap().as_secs()), (None, 60));
}

#[test]
fn names_are_in_lower_case_unless_they_are_quoted() {
    let pipeline = sound(
        "CREATE STREAM Loud (\"Value\" DOUBLE, VALUE DOUBLE);
         INSERT INTO OUT SELECT \"Value\", value FROM LOUD;",
    );
    let schema = &pipeline.streams["loud"].schema;
    assert_eq!((schema.field(0).name().as_str(), schema.field(1).name().as_str()), ("Value", "value"));
}
