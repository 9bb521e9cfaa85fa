//! Arguments of a benchmark: `--name value`, and values without a name.

use std::path::PathBuf;
use std::str::FromStr;

/// Names that stand alone.
const SWITCHES: &[&str] = &["bench", "keep"];

/// The arguments of this process.
#[derive(Debug)]
pub struct Arguments {
    named: Vec<(String, String)>,
    free: Vec<String>,
}

impl Arguments {
    /// Reads them; `None` when this is no run of `cargo bench`, and nothing is to be measured.
    pub fn read() -> Option<Self> {
        let mut read = Self { named: Vec::new(), free: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some(name) if SWITCHES.contains(&name) => read.named.push((name.to_owned(), String::new())),
                Some(name) => {
                    let value = arguments.next().unwrap_or_else(|| panic!("--{name} wants a value"));
                    read.named.push((name.to_owned(), value));
                }
                None => read.free.push(argument),
            }
        }
        if !read.has("bench") {
            // Not to the standard output, where a test runner would look for a list of tests.
            eprintln!("no run of cargo bench: nothing measured");
        }
        read.has("bench").then_some(read)
    }

    /// Whether the switch is given.
    pub fn has(&self, name: &str) -> bool {
        self.named.iter().any(|(given, _)| given == name)
    }

    /// The last value of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.named.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of that name as a `T`.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> T {
        let parsed = |text: &str| text.parse().unwrap_or_else(|_| panic!("--{name} cannot be {text}"));
        self.value(name).map_or(default, parsed)
    }

    /// Whether `--only A,B` names something that `name` begins with, or is not given.
    pub fn wants(&self, name: &str) -> bool {
        self.value("only").is_none_or(|only| only.split(',').any(|wanted| name.starts_with(wanted)))
    }

    /// The first value without a name.
    pub fn path(&self) -> Option<PathBuf> {
        self.free.first().map(PathBuf::from)
    }

    /// A folder on the disk to measure, removed when dropped: below `--dir`, or below the temporary folder.
    pub fn folder(&self) -> tempfile::TempDir {
        let parent = self.value("dir").map_or_else(std::env::temp_dir, PathBuf::from);
        tempfile::tempdir_in(parent).unwrap()
    }
}
