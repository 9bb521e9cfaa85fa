//! Options of the `parquet` connector.

use arrow::datatypes::Schema;

use crate::columnar::{PartitionBy, normal_schema};
use crate::options::{Mismatch, OptionKind, OptionSpec, OptionValues};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required("location", OptionKind::Location, "folder of the files; relative to the statement's folder"),
    OptionSpec::optional(
        "partition_by",
        OptionKind::PartitionColumn,
        "a column, or `date` for the UTC date of the event time: folders such as `date=2026-11-22/`",
    ),
    OptionSpec::optional(
        "timestamp",
        OptionKind::Column,
        "event-time column; else `ts`, else `window_start`, else the first timestamp",
    ),
    OptionSpec::defaulted("commit_interval", OptionKind::Duration, "60 seconds", "how long rows gather before a file"),
    OptionSpec::defaulted(
        "max_rows",
        OptionKind::Count { min: 1, max: 10_000_000 },
        "1000000",
        "a file is written earlier at this many rows",
    ),
];

pub(super) fn check(options: &OptionValues, schema: &Schema) -> Vec<Mismatch> {
    let mut mistakes = normal_schema(schema).1;
    mistakes.extend(PartitionBy::of(options, schema).err());
    mistakes
}
