//! The front doors: rows come in over HTTP and through connectors, are decoded, checked against their stream, and
//! acknowledged once the log holds them durably.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod append;
mod clock;
mod decode;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod metadata;
mod metrics;
mod registry;
#[cfg(test)]
mod testing;

pub mod connector;
pub mod http;

pub use crate::clock::{Clock, SharedClock, SystemClock};
pub use crate::decode::{
    Decoded, DecodedLines, EventTime, Format, Precision, REASONS_IN_ANSWER, Reason, RejectedRows, RowShape, decode,
    decode_lines,
};
pub use crate::error::{Error, Result};
pub use crate::input::{OpenStream, StreamInput, TimestampUnit, rejected_schema, rejected_stream_name};
pub use crate::metadata::{Metadata, MetadataColumn};
pub use crate::registry::StreamRegistry;
