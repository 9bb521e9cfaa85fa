//! Mistakes in options, and the agreement of `docs/sinks.md` with the declarations.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::duration::parse_duration;
use super::{OptionProblem, options_markdown};
use crate::conformance::sensor_schema;
use crate::settings::{Secret, SinkOption};
use crate::{alert_schema, check, connectors};

fn problems(connector: &str, options: &[(&str, &str)]) -> Vec<OptionProblem> {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    check(connector, &options, &sensor_schema(), false)
}

/// The one problem as `option: message (hint)`.
fn problem(connector: &str, options: &[(&str, &str)]) -> String {
    let problems = problems(connector, options);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let OptionProblem { option, message, hint } = &problems[0];
    format!("{}: {message} ({})", option.as_deref().unwrap_or("rows"), hint.as_deref().unwrap_or("-"))
}

#[test]
fn right_options_have_no_problems() {
    for (connector, options) in [
        ("console", vec![]),
        ("webhook", vec![("url", "https://example.com/hook"), ("timeout", "500 ms")]),
        ("influxdb", vec![("url", "http://localhost:8086"), ("database", "plant"), ("tags", "device_id, note")]),
        ("influxdb", vec![("url", "http://localhost:8086"), ("org", "o"), ("bucket", "b"), ("token", "t")]),
        ("delta", vec![("location", "archive"), ("partition_by", "date")]),
        ("delta", vec![("location", "/archive"), ("partition_by", "device_id"), ("commit_interval", "1 minute")]),
        ("parquet", vec![("location", "file:///archive"), ("max_rows", "10")]),
    ] {
        assert_eq!(problems(connector, &options), [], "{connector} {options:?}");
    }
}

#[test]
fn every_mistake_says_what_was_expected_and_found() {
    for (connector, options, expected) in [
        (
            "delta",
            vec![],
            "location: expected a path or a file:// address, found nothing (folder of the table; relative to the statement's folder)",
        ),
        (
            "delta",
            vec![("location", "s3://plant/a")],
            "location: expected a path or a file:// address, found 's3://plant/a' (this build has no store for s3://)",
        ),
        (
            "delta",
            vec![("location", "a"), ("max_rows", "0")],
            "max_rows: expected a whole number from 1 to 10000000, found '0' (-)",
        ),
        (
            "delta",
            vec![("location", "a"), ("commit_interval", "soon")],
            "commit_interval: expected a duration such as '30 seconds', found 'soon' (-)",
        ),
        (
            "delta",
            vec![("location", "a"), ("partition_by", "devise_id")],
            "partition_by: expected a column of the rows, or date, found 'devise_id' (did you mean 'device_id'?)",
        ),
        (
            "delta",
            vec![("location", "a"), ("partition_by", "temperature")],
            "partition_by: expected a text, integer, boolean or date column, found 'temperature' of type Float64 (-)",
        ),
        (
            "parquet",
            vec![("locatoin", "a"), ("location", "a")],
            "locatoin: expected one of location, partition_by, timestamp, commit_interval, max_rows, found 'locatoin' (did you mean 'location'?)",
        ),
        (
            "influxdb",
            vec![("url", "localhost:8086"), ("database", "d")],
            "url: expected an http:// or https:// address, found 'localhost:8086' (-)",
        ),
        (
            "influxdb",
            vec![("url", "http://h"), ("database", "d"), ("tags", "device_id, nope")],
            "tags: expected columns of the rows, separated by commas, found 'nope' (did you mean 'note'?)",
        ),
        (
            "influxdb",
            vec![("url", "http://h"), ("database", "d"), ("bucket", "b")],
            "bucket: expected options of InfluxDB 1 or of InfluxDB 2, found options of both (InfluxDB 1 takes database, InfluxDB 2 takes org, bucket and token)",
        ),
        (
            "influxdb",
            vec![("url", "http://h"), ("org", "o")],
            "bucket: expected text that is not empty, found nothing (-)",
        ),
        (
            "influxdb",
            vec![("url", "http://h"), ("database", "d"), ("create_database", "yes")],
            "create_database: expected true or false, found 'yes' (-)",
        ),
        (
            "influxdb",
            vec![("url", "http://h"), ("database", "d"), ("precision", "n")],
            "precision: expected one of ns, us, ms, s, found 'n' (did you mean 'ns'?)",
        ),
        (
            "influxdb",
            vec![("url", "http://h"), ("database", "d"), ("timestamp", "device_id")],
            "timestamp: expected a timestamp column, found 'device_id' (-)",
        ),
        (
            "webhook",
            vec![("url", "https://example.com"), ("secret", "geheim")],
            "secret: expected whsec_ and 24 to 64 bytes in base64, found something else (-)",
        ),
        ("console", vec![("colour", "red")], "colour: expected no options, found 'colour' (-)"),
        (
            "parket",
            vec![],
            "connector: expected one of console, blackhole, webhook, pagerduty, influxdb, parquet, delta, found 'parket' (did you mean 'parquet'?)",
        ),
    ] {
        assert_eq!(problem(connector, &options), expected);
    }
}

#[test]
fn all_mistakes_come_at_once() {
    let found = problems("influxdb", &[("ulr", "x"), ("max_rows", "many"), ("database", "d")]);
    let options: Vec<_> = found.iter().filter_map(|problem| problem.option.as_deref()).collect();
    assert_eq!(options, ["ulr", "url", "max_rows"]);
}

#[test]
fn pagerduty_takes_alerts_only() {
    let key = BTreeMap::from([("routing_key".to_owned(), SinkOption::from("R".repeat(32)))]);
    assert_eq!(check("pagerduty", &key, &alert_schema(), true), []);
    let problems = check("pagerduty", &key, &sensor_schema(), false);
    assert_eq!(
        problems[0].message,
        "expected alert events, which are all that a pagerduty sink takes, found plain rows"
    );
}

#[test]
fn an_unknown_secret_is_enough_to_be_checked() {
    let options = BTreeMap::from([("routing_key".to_owned(), SinkOption::UnresolvedSecret)]);
    assert_eq!(check("pagerduty", &options, &alert_schema(), true), []);
}

#[test]
fn secrets_are_never_printed() {
    let secret = Secret::new("hunter2");
    assert_eq!(
        format!("{secret} {secret:?} {:?}", SinkOption::from(secret.clone())),
        "*** Secret(…) Secret(Secret(…))"
    );
    for connector in ["pagerduty", "webhook", "influxdb"] {
        let names = ["routing_key", "url", "secret", "token", "password", "timeout", "database"];
        let options = names.iter().map(|name| ((*name).to_owned(), Secret::new("hunter2").into())).collect();
        let problems = check(connector, &options, &alert_schema(), true);
        assert!(!problems.is_empty());
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, expected) in [
        ("30 seconds", Some(Duration::from_secs(30))),
        ("1 minute", Some(Duration::from_secs(60))),
        ("500ms", Some(Duration::from_millis(500))),
        ("1.5 h", Some(Duration::from_secs(5400))),
        ("0 s", Some(Duration::ZERO)),
        ("30", None),
        ("-1 s", None),
        ("1 fortnight", None),
        ("", None),
    ] {
        assert_eq!(parse_duration(text), expected, "{text}");
    }
}

/// Run with `THERMOCLINE_UPDATE_DOCS=1` to write the tables anew.
#[test]
fn the_docs_agree_with_the_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sinks.md");
    let mut docs = std::fs::read_to_string(&path).unwrap();
    let mut is_changed = false;
    for connector in connectors() {
        let (begin, end) = (format!("<!-- options: {} -->\n", connector.name), "<!-- end -->");
        let from = docs.find(&begin).unwrap_or_else(|| panic!("no options of {} in docs/sinks.md", connector.name))
            + begin.len();
        let to = from + docs[from..].find(end).expect("the table has an end");
        let table = options_markdown(connector.options);
        if docs[from..to] != table {
            is_changed = true;
            docs.replace_range(from..to, &table);
        }
    }
    if is_changed && std::env::var_os("THERMOCLINE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, docs).unwrap();
    } else {
        assert!(!is_changed, "docs/sinks.md differs from the declared options");
    }
}
