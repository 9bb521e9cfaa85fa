//! HTTP: rows in, queries out, health and metrics. Everything is bounded: bytes of bodies in flight, connections,
//! queries at a time, the time a silent client is waited for.

mod answer;
mod body;
mod budget;
mod headers_json;
mod health;
mod idempotency;
mod influx;
mod query;
mod replay;
mod result_format;
mod router;
mod rows;
mod rows_body;
mod server;
mod state;
mod streams;

pub use self::query::{QueryError, QueryResult, QueryService};
pub use self::router::router;
pub use self::server::serve;
pub use self::state::{HttpOptions, HttpState};

#[cfg(test)]
mod tests;
