//! Pipelines and data that the tests run on.

use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder of the examples.
pub fn examples_dir() -> PathBuf {
    workspace().join("examples")
}

/// The series of the machine-temperature example, from a copy of the Numenta Anomaly Benchmark beside the repository.
pub fn machine_csv() -> Option<PathBuf> {
    let path = workspace().join("../shared/nab/data/realKnownCause/machine_temperature_system_failure.csv");
    path.canonicalize().ok()
}

/// Says that a test was skipped, and why.
pub fn machine_csv_missing() {
    println!("skipped: the Numenta Anomaly Benchmark is not in ../shared/nab beside the repository");
}

/// Writes an example's SQL into a folder, with parts of its text replaced; each must be there.
pub fn pipeline(example: &str, into: &Path, replaced: &[(&str, &str)]) -> PathBuf {
    let to = into.join(example);
    std::fs::create_dir_all(&to).unwrap();
    let mut found = vec![false; replaced.len()];
    for entry in std::fs::read_dir(examples_dir().join(example)).unwrap() {
        let from = entry.unwrap().path();
        if !from.is_file() {
            continue;
        }
        let mut text = std::fs::read_to_string(&from).unwrap();
        if from.extension().is_some_and(|extension| extension == "sql") {
            for ((old, new), found) in replaced.iter().zip(&mut found) {
                *found |= text.contains(old);
                text = text.replace(old, new);
            }
        }
        std::fs::write(to.join(from.file_name().unwrap()), text).unwrap();
    }
    for ((old, _), found) in replaced.iter().zip(found) {
        assert!(found, "expected in the SQL of {example}: {old}");
    }
    to
}
