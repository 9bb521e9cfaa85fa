//! One limit for the memory of queries.
//!
//! Three quarters of it are for the state of continuous queries, which tell what they hold after every step; the one that
//! asks for more than there is stops ([`MemoryBudget`]). A quarter is for ad-hoc queries, which spill to disk or are refused
//! ([`adhoc_runtime`]): no ad-hoc query can stop a continuous one.

mod adhoc;
mod budget;
mod held_exec;
mod machine;

#[cfg(test)]
mod allocated;
#[cfg(test)]
mod honest_tests;

pub(crate) use adhoc::adhoc_runtime;
pub(crate) use budget::{MemoryAccount, MemoryBudget, OverLimit};
pub(crate) use held_exec::count_held_rows;
pub use machine::machine_memory_bytes;

/// The limit where none is set: half of what the machine has, or its container.
#[must_use]
pub fn default_memory_limit() -> u64 {
    machine_memory_bytes() / 2
}

/// Bytes as a person reads them: 1.5 GiB.
pub(crate) fn in_words(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, shift)| bytes >= 1 << shift) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / f64::from(1_u32 << shift)),
        None => format!("{bytes} B"),
    }
}
