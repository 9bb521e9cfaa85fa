//! State per key that can be read, stored and given back one by one, as operators in event-time order need it: their
//! groups end each at its own time.
//!
//! DataFusion's grouping gives back its first groups or all of them, and its accumulators are empty once they were
//! evaluated. What is here has the same results, may be looked at at any time, and goes on from what was stored to the bit.

mod accumulators;
mod any;
mod changes;
mod chunked;
mod codes;
mod count;
mod float;
mod functions;
mod integer;
mod summary;
mod table;
mod tracked;

pub(crate) use accumulators::Accumulators;
pub(crate) use changes::Changes;
pub(crate) use functions::{Bounds, KeyedFunctions, KeyedRows};
pub(crate) use table::KeyTable;
