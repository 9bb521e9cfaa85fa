//! Seeds and everything the fuzzer ever found pass: `log/tests/fuzz/<target>/` holds an input for each defect.

use std::path::Path;

use super::*;
use crate::contain::contained;

#[test]
fn seeds_are_accepted() {
    for (name, bytes) in seeds().unwrap() {
        let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
        target(&bytes);
    }
}

#[test]
fn every_target_has_a_seed() {
    let seeds = seeds().unwrap();
    for (target, _) in TARGETS {
        assert!(seeds.iter().any(|(name, _)| *name == target), "{target}");
    }
}

/// A length or a place in a file turns negative or far too large by one bit. Opening a journal takes longest; a third of
/// its bits are of all eight places in a byte too.
#[test]
fn seeds_with_one_bit_turned_keep_the_promises() {
    for (name, seed) in seeds().unwrap() {
        let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
        for bit in (0..seed.len() * 8).step_by(if name == "journal" { 3 } else { 1 }) {
            let mut bytes = seed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Err(panic) = contained(|| target(&bytes)) {
                panic!("{name}, bit {} of byte {}: {panic}", bit % 8, bit / 8);
            }
        }
    }
}

#[test]
fn what_was_found_stays_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut tried = 0;
    for (name, target) in TARGETS {
        for entry in std::fs::read_dir(folder.join(name)).into_iter().flatten() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            tried += 1;
        }
    }
    assert!(tried > 0, "there are inputs in {}", folder.display());
}
