//! What a snapshot of a partition of a query by key says: its keys' watermarks, and the operator's tables.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::snapshot::{Format, Place};

/// Nothing is said besides the tables.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PerKeyPlace {}

impl Place for PerKeyPlace {
    const FORMAT: Format = Format { magic: b"TCPKEY", oldest: 2, version: 2 };
}

/// The whole state of a partition.
#[derive(Debug)]
pub(crate) struct PerKeyState {
    /// First offset that is not in it.
    pub(crate) next_offset: u64,
    /// The watermarks, then the operator's tables.
    pub(crate) tables: Vec<RecordBatch>,
}
