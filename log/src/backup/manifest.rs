//! The file `BACKUP`: which files a backup has, with size and checksum of each. Text, so that a person can read it:
//!
//! ```text
//! thermocline backup 1
//! taken 1767225600000
//! 2a5f00c1 4096 journal/00000000000000000007.wal
//! …
//! end 7d3c1b00
//! ```
//!
//! The last line holds the checksum of all lines before it: a file that is cut short is not a manifest.

use std::fmt::Write as _;
use std::path::{Component, Path};

use crate::disk::Disk;
use crate::error::{Error, Result, corrupt, io_error};

/// Its name in the backup.
pub(super) const FILE: &str = "BACKUP";
const MAGIC: &str = "thermocline backup";
const VERSION: u16 = 1;

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Relative to the backup, `/` between names.
    pub path: String,
    pub bytes: u64,
    /// CRC-32C of all of it.
    pub crc: u32,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub taken_ms: i64,
    pub files: Vec<Listed>,
}

impl Manifest {
    pub(super) fn encode(&self) -> String {
        let mut text = format!("{MAGIC} {VERSION}\ntaken {}\n", self.taken_ms);
        for Listed { path, bytes, crc } in &self.files {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{crc:08x} {bytes} {path}");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "end {crc:08x}");
        text
    }

    /// Reads the manifest of the backup in `dir`.
    ///
    /// # Errors
    /// [`Error::NoBackup`], [`Error::Version`], [`Error::Corrupt`] or an I/O error.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoBackup { path: dir.to_owned() });
            }
            file => file.map_err(io_error("open", &path))?,
        };
        let bytes = file.len().map_err(io_error("size", &path))?;
        let mut content = vec![0; usize::try_from(bytes).expect("a manifest fits the address space")];
        file.read_exact_at(&mut content, 0).map_err(io_error("read", &path))?;
        Self::decode(&content, &path)
    }

    fn decode(content: &[u8], path: &Path) -> Result<Self> {
        let damaged = |what: &str| corrupt(path, 0, format!("list of the backup's files: {what}"));
        let text = std::str::from_utf8(content).map_err(|_| damaged("expected text in UTF-8"))?;
        let without_end = text.strip_suffix('\n').ok_or_else(|| damaged("its last line is cut short"))?;
        let (listed, end) = without_end.rsplit_once('\n').ok_or_else(|| damaged("its end is missing"))?;
        let listed = &text[..=listed.len()];
        let crc = crc32c::crc32c(listed.as_bytes());
        if end != format!("end {crc:08x}") {
            return Err(damaged(&format!("expected the last line to be \"end {crc:08x}\", found {end:?}")));
        }
        let mut lines = listed.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(MAGIC)?.trim().parse::<u16>().ok());
        match version {
            Some(VERSION) => {}
            Some(found) => return Err(Error::Version { path: path.to_owned(), expected: VERSION, found }),
            None => return Err(damaged("expected its version in the first line")),
        }
        let taken_ms = lines.next().and_then(|line| line.strip_prefix("taken ")?.parse().ok());
        let taken_ms = taken_ms.ok_or_else(|| damaged("expected the time it was taken in the second line"))?;
        let files =
            lines.map(|line| listed_in(line).ok_or_else(|| damaged(&format!("expected a file, found {line:?}"))));
        Ok(Self { taken_ms, files: files.collect::<Result<_>>()? })
    }
}

fn listed_in(line: &str) -> Option<Listed> {
    let mut fields = line.splitn(3, ' ');
    let crc = u32::from_str_radix(fields.next()?, 16).ok()?;
    let bytes = fields.next()?.parse().ok()?;
    let path = fields.next()?.to_owned();
    // Nothing is written outside of the directory that is restored, whatever the list says.
    let is_inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    (is_inside && !path.is_empty()).then_some(Listed { path, bytes, crc })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest() -> Manifest {
        let file = |path: &str, bytes, crc| Listed { path: path.to_owned(), bytes, crc };
        let files =
            vec![file("LOG", 32, 1), file("state/a b.snapshot", 0, u32::MAX), file("journal/7.wal", 1 << 40, 0)];
        Manifest { taken_ms: -5, files }
    }

    fn decode(content: &[u8]) -> Result<Manifest> {
        Manifest::decode(content, Path::new("BACKUP"))
    }

    #[test]
    fn round_trip() {
        assert_eq!(decode(manifest().encode().as_bytes()).unwrap(), manifest());
        let empty = Manifest { taken_ms: 0, files: Vec::new() };
        assert_eq!(decode(empty.encode().as_bytes()).unwrap(), empty);
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let text = manifest().encode().into_bytes();
        for at in 0..text.len() {
            assert!(decode(&text[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[at] ^= 1 << bit;
                assert!(decode(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn another_version_and_paths_that_lead_outside_are_refused() {
        let with = |body: &str| format!("{body}end {:08x}\n", crc32c::crc32c(body.as_bytes()));
        let newer = with("thermocline backup 2\nwhatever\n");
        assert!(matches!(decode(newer.as_bytes()), Err(Error::Version { expected: 1, found: 2, .. })));
        for path in ["../LOG", "/etc/passwd", "state/../../x", ""] {
            let text = with(&format!("thermocline backup 1\ntaken 0\n00000000 1 {path}\n"));
            assert!(matches!(decode(text.as_bytes()), Err(Error::Corrupt { .. })), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_not_a_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&content).is_err());
        }
    }
}
