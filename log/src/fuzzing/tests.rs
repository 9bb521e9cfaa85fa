//! Seeds and everything the fuzzer ever found pass: `log/tests/fuzz/<target>/` holds an input for each defect.

use std::path::Path;

use super::*;

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
