//! What a log takes from its surroundings besides disk and clock, so that a simulation can hand in its own.

use std::hash::{BuildHasher, RandomState};

use crate::commit::Receipt;
use crate::error::{Error, Result};
use crate::intake::Reply;

/// Chance, and the passing of time between threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings {
    /// The id of a log that is created.
    pub draw_log_id: fn() -> u64,
    /// How the sealer waits for the writer's answer: its thread sleeps, or whoever waits steps the writer.
    pub wait: fn(Reply) -> Result<Receipt>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { draw_log_id, wait: |reply| reply.blocking_recv().unwrap_or(Err(Error::Closed)) }
    }
}

/// A number that no other log has, as far as chance goes.
pub(crate) fn draw_log_id() -> u64 {
    RandomState::new().hash_one("log")
}
