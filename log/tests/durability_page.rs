//! `docs/durability.md` names a test for each fault: every one of them exists.

#![allow(clippy::unwrap_used)]

use std::path::Path;

const FAULTS: usize = 18;

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/durability.md")).unwrap();
    let mut faults = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |") && !line.contains("---")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, _, tests] = cells.as_slice() else { panic!("expected four cells in {row}") };
        faults.push(number.parse::<usize>().unwrap());
        assert!(tests.contains("::"), "fault {number} has no test");
        for test in tests.split(", ") {
            let (path, name) = test.trim_matches('`').split_once("::").unwrap();
            let source = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            let definition =
                source.lines().position(|line| line.trim_start_matches("async ").starts_with(&format!("fn {name}()")));
            let line = definition.unwrap_or_else(|| panic!("{path} has no {name}"));
            let attribute = source.lines().nth(line - 1).unwrap();
            assert!(attribute.contains("test"), "{path}: {name} is no test");
        }
    }
    assert_eq!(faults, (1..=FAULTS).collect::<Vec<_>>());
}
