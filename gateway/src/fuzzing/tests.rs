//! Seeds, small changes of them, and everything the fuzzer ever found pass: `gateway/tests/fuzz/<target>/` holds an input
//! for each defect.

use std::path::Path;

use proptest::prelude::*;

use super::seeds::seeds;
use super::*;

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(target, _)| *target == name).unwrap().1
}

#[test]
fn every_target_has_a_seed_and_accepts_it() {
    for (name, bytes) in seeds() {
        target(name)(&bytes);
    }
    assert!(TARGETS.iter().all(|(target, _)| seeds().iter().any(|(name, _)| name == target)));
    for (format, name) in [(Format::Json, "json"), (Format::ArrowStream, "arrow_stream")] {
        for (_, bytes) in seeds().into_iter().filter(|(target, _)| *target == name) {
            let decoded = decode(format, &shape(), &bytes, MAX_BYTES, NOW_US).unwrap();
            assert!(decoded.accepted() > 0 && decoded.rejected.is_empty(), "{:?}", decoded.rejected.first());
        }
    }
}

#[test]
fn what_was_found_stays_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for (name, target) in TARGETS {
        for entry in std::fs::read_dir(folder.join(name)).into_iter().flatten() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

proptest! {
    #[test]
    fn changed_seeds_keep_the_promises(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let seeds = seeds();
        let (name, mut bytes) = seeds[which.index(seeds.len())].clone();
        for (at, byte, change) in changes {
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        target(name)(&bytes);
    }
}
