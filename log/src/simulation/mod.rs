//! Deterministic simulation of the log: thousands of short lives on a simulated disk, each drawn from a seed.
//!
//! All of a life runs in one thread. The disk remembers what was synced and, at a crash, drops, reorders or tears the
//! rest; it fails a sync, fills up, flips bits. What the log was asked to do and answered is kept in a model, and the
//! log is compared with it after every crash, and with every read. A seed tells everything: `THERMOCLINE_SEED=n` runs one
//! and prints what happens, `THERMOCLINE_SEEDS=n` runs that many others than usual.

mod actions;
mod backup;
mod check;
mod damage;
mod disk;
mod ids;
mod inode;
mod machine;
mod model;
mod names;
mod random;
mod readers;
mod rows;
mod trace;
mod world;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

use crate::journal::FOLDER;

/// What happens to the log besides its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Processes are killed and the power goes.
    Crashes,
    /// The disk fails and fills up as well.
    Faults,
    /// Crashes where an acknowledgement does not mean a sync.
    Relaxed,
    /// Bits flip at rest.
    Damage,
}

/// Whether anybody looks at what happens in a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Unseen,
    /// Every step is printed.
    Printed,
    /// Events are kept.
    Recorded,
}

/// Seeds of each kind that every run of the tests takes.
const SEEDS: u64 = 600;

/// One life; the same seed gives the same checksum of all operations of the disk.
fn live(kind: Kind, seed: u64, watch: Watch) -> u32 {
    let world = World::new(kind, seed, watch);
    let actions = world.random.borrow_mut().between(10, 60);
    world.live(actions);
    if kind == Kind::Damage {
        world.damage();
    }
    world.close();
    world.machine.checksum()
}

fn run(kind: Kind, test: &str) {
    let number = |name| std::env::var(name).ok().map(|value: String| value.parse::<u64>().unwrap());
    if let Some(seed) = number("THERMOCLINE_SEED") {
        live(kind, seed, Watch::Printed);
        return;
    }
    let seeds = match number("THERMOCLINE_SEEDS") {
        None => 0..SEEDS,
        Some(count) => {
            let first = RandomState::new().hash_one(test) >> 16;
            println!("{count} seeds from {first}");
            first..first + count
        }
    };
    for seed in seeds {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| live(kind, seed, Watch::Unseen))) {
            eprintln!(
                "seed {seed} fails; THERMOCLINE_SEED={seed} cargo test -p thermocline-log simulation::{test} shows how"
            );
            resume_unwind(failure);
        }
    }
}

#[test]
fn crashes_lose_nothing() {
    run(Kind::Crashes, "crashes_lose_nothing");
}

#[test]
fn a_failing_disk_loses_nothing() {
    run(Kind::Faults, "a_failing_disk_loses_nothing");
}

#[test]
fn relaxed_durability_loses_only_the_end() {
    run(Kind::Relaxed, "relaxed_durability_loses_only_the_end");
}

#[test]
fn damage_is_named() {
    run(Kind::Damage, "damage_is_named");
}

#[test]
fn no_row_is_seen_or_acknowledged_before_it_is_durable() {
    let (mut visible, mut acknowledged) = (0, 0);
    for (kind, seed) in (0..40).flat_map(|seed| [(Kind::Crashes, seed), (Kind::Faults, seed)]) {
        let world = World::new(kind, seed, Watch::Recorded);
        world.live(40);
        let checked = trace::check(&world.machine.take_events(), &World::dir().join(FOLDER));
        let (seen, answered) = checked.unwrap_or_else(|what| panic!("{kind:?}, seed {seed}: {what}"));
        visible += seen;
        acknowledged += answered;
    }
    assert!(visible > 1000 && acknowledged > 100, "{visible} rows seen, {acknowledged} commits acknowledged");
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..20 {
        for kind in [Kind::Crashes, Kind::Faults, Kind::Relaxed, Kind::Damage] {
            assert_eq!(live(kind, seed, Watch::Unseen), live(kind, seed, Watch::Unseen), "{kind:?}, seed {seed}");
        }
    }
}
