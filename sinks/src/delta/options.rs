//! Options of the `delta` connector.

use arrow::datatypes::Schema;

use crate::columnar::{PartitionBy, normal_schema};
use crate::options::{Mismatch, OptionKind, OptionSpec, OptionValues};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required("location", OptionKind::Location, "folder of the table; relative to the statement's folder"),
    OptionSpec::optional(
        "partition_by",
        OptionKind::PartitionColumn,
        "a column, or `date` for a generated column with the UTC date of the event time",
    ),
    OptionSpec::optional(
        "timestamp",
        OptionKind::Column,
        "event-time column; else `ts`, else `window_start`, else the first timestamp",
    ),
    OptionSpec::defaulted(
        "commit_interval",
        OptionKind::Duration,
        "30 seconds",
        "how long rows gather before a commit",
    ),
    OptionSpec::defaulted(
        "max_rows",
        OptionKind::Count { min: 1, max: 10_000_000 },
        "1000000",
        "a commit is made earlier at this many rows",
    ),
];

pub(super) fn check(options: &OptionValues, schema: &Schema) -> Vec<Mismatch> {
    let mut mistakes = normal_schema(schema).1;
    mistakes.extend(PartitionBy::of(options, schema).err());
    // The Delta library takes the address apart once more: %20 in a name would become a space.
    if let Some(location) =
        options.text("location").filter(|location| !location.contains("://") && location.contains('%'))
    {
        mistakes.push(Mismatch::of("location", "a path without %", format!("'{location}'")));
    }
    mistakes
}
