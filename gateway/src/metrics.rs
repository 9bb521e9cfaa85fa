//! The gateway's counters, in one place so that their names are found by reading one file.

use std::time::Duration;

use metrics::{counter, histogram};

/// Rows that became durable, by the door they came through.
pub(crate) fn rows(stream: &str, source: &'static str, rows: u64) {
    counter!("thermocline_gateway_rows_total", "stream" => stream.to_owned(), "source" => source).increment(rows);
}

/// Malformed rows that became durable in `rejected.<stream>`.
pub(crate) fn rejected_rows(stream: &str, source: &'static str, rows: u64) {
    if rows > 0 {
        counter!("thermocline_gateway_rejected_rows_total", "stream" => stream.to_owned(), "source" => source)
            .increment(rows);
    }
}

/// A request whose rows had been stored before, by its idempotency key; they are not counted again.
pub(crate) fn replayed_request(stream: &str) {
    counter!("thermocline_gateway_replayed_requests_total", "stream" => stream.to_owned()).increment(1);
}

/// Fields that no column takes.
pub(crate) fn unknown_fields(stream: &str, fields: u64) {
    if fields > 0 {
        counter!("thermocline_gateway_unknown_fields_total", "stream" => stream.to_owned()).increment(fields);
    }
}

/// Bytes as they came over the wire or out of a file.
pub(crate) fn bytes(source: &'static str, bytes: u64) {
    counter!("thermocline_gateway_bytes_total", "source" => source).increment(bytes);
}

/// An HTTP request that was answered; for streamed answers, up to the first byte.
pub(crate) fn request(route: &'static str, status: u16, duration: Duration) {
    counter!("thermocline_gateway_requests_total", "route" => route, "status" => status.to_string()).increment(1);
    histogram!("thermocline_gateway_request_seconds", "route" => route).record(duration.as_secs_f64());
}
