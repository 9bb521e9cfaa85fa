//! Options of the `influxdb` connector.

use arrow::datatypes::Schema;

use crate::columns::event_time;
use crate::options::{Mismatch, OptionKind, OptionSpec, OptionValues};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required("url", OptionKind::Url, "base address, such as `http://localhost:8086`"),
    OptionSpec::optional("database", OptionKind::Text, "InfluxDB 1: the database"),
    OptionSpec::optional(
        "retention_policy",
        OptionKind::Text,
        "InfluxDB 1: the retention policy; else the default one",
    ),
    OptionSpec::optional("username", OptionKind::Text, "InfluxDB 1: user"),
    OptionSpec::optional("password", OptionKind::Secret, "InfluxDB 1: password"),
    OptionSpec::defaulted(
        "create_database",
        OptionKind::Boolean,
        "true",
        "InfluxDB 1: whether a missing database is created",
    ),
    OptionSpec::optional("org", OptionKind::Text, "InfluxDB 2: the organisation"),
    OptionSpec::optional("bucket", OptionKind::Text, "InfluxDB 2: the bucket"),
    OptionSpec::optional("token", OptionKind::Secret, "InfluxDB 2: the token"),
    OptionSpec::optional(
        "measurement",
        OptionKind::Text,
        "measurement of the points; else the name of the query or stream",
    ),
    OptionSpec::optional(
        "tags",
        OptionKind::Columns,
        "columns that become tags; else the text columns (of alert events `alert` and `dedup_key`)",
    ),
    OptionSpec::optional(
        "timestamp",
        OptionKind::Column,
        "column with the points' time; else `ts`, else `window_start`, else the first timestamp",
    ),
    OptionSpec::defaulted(
        "precision",
        OptionKind::Choice(&["ns", "us", "ms", "s"]),
        "us",
        "unit of the points' time; a coarser one lets points of one series overwrite each other",
    ),
    OptionSpec::defaulted("max_rows", OptionKind::Count { min: 1, max: 10_000 }, "5000", "points in one request"),
    OptionSpec::defaulted("timeout", OptionKind::Duration, "30 seconds", "how long an answer may take"),
];

pub(super) fn check(options: &OptionValues, schema: &Schema) -> Vec<Mismatch> {
    let mut mistakes = versions(options);
    let named = options.text("timestamp");
    match event_time(schema, named) {
        None => mistakes.push(match named {
            Some(name) => Mismatch::of("timestamp", "a timestamp column", format!("'{name}'")),
            None => Mismatch::of_rows("rows with a timestamp column", "rows without one"),
        }),
        Some(time) => {
            let name = schema.field(time).name();
            if options.columns("tags").is_some_and(|tags| tags.contains(name)) {
                mistakes.push(Mismatch::of("tags", "columns other than the points' time", format!("'{name}'")));
            }
        }
    }
    if options.is_given("timeout") && options.duration("timeout").is_zero() {
        mistakes.push(Mismatch::of("timeout", "a duration above zero", "zero"));
    }
    mistakes
}

/// Options of version 1 or of version 2, not of both.
fn versions(options: &OptionValues) -> Vec<Mismatch> {
    let first = |names: &[&'static str]| names.iter().copied().find(|name| options.is_given(name));
    let v1 = first(&["database", "retention_policy", "username", "password"]);
    let v2 = first(&["bucket", "org", "token"]);
    let mut mistakes = Vec::new();
    match (v1, v2) {
        (Some(_), Some(v2)) => mistakes.push(
            Mismatch::of(v2, "options of InfluxDB 1 or of InfluxDB 2", "options of both")
                .hint("InfluxDB 1 takes database, InfluxDB 2 takes org, bucket and token"),
        ),
        (Some(_), None) if !options.is_given("database") => {
            mistakes.push(Mismatch::of("database", "the name of a database", "nothing"));
        }
        (None, None) => mistakes.push(
            Mismatch::of("database", "a database, or an org and a bucket", "neither")
                .hint("InfluxDB 1 takes database, InfluxDB 2 takes org, bucket and token"),
        ),
        (None, Some(_)) => {
            for name in ["org", "bucket"] {
                if !options.is_given(name) {
                    mistakes.push(Mismatch::of(name, "text that is not empty", "nothing"));
                }
            }
        }
        (Some(_), None) => {}
    }
    mistakes
}
