//! What the file sinks share: where files go, types that every reader of Parquet knows, partitions, order, encodings.

mod layout;
mod location;
mod normal;
mod partition;

pub(crate) use self::layout::encode;
pub(crate) use self::location::Location;
pub(crate) use self::normal::{normal_schema, normalise};
pub(crate) use self::partition::{PartitionBy, path_safe, split};
