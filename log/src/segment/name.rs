//! The name of a segment file, which says all that opening a log needs to know of it:
//! `<start>-<end>-<append_ms>-<crc>.parquet`.

use std::fmt;
use std::str::FromStr;

const EXTENSION: &str = ".parquet";
const TEMPORARY: &str = ".tmp";

/// What a segment's name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentName {
    /// Offset of the first row.
    pub start: u64,
    /// One past the offset of the last row.
    pub end: u64,
    /// When the last appended of its rows was appended.
    pub append_ms: u64,
    /// CRC-32C of the whole file.
    pub crc: u32,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, append_ms, crc } = self;
        write!(f, "{start:020}-{end:020}-{append_ms}-{crc:08x}{EXTENSION}")
    }
}

impl FromStr for SegmentName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let wrong = || format!("segment name: expected <start>-<end>-<append ms>-<crc>{EXTENSION}, found {name:?}");
        let parts: Vec<&str> = name.strip_suffix(EXTENSION).ok_or_else(wrong)?.split('-').collect();
        let [start, end, append_ms, crc] = parts.as_slice() else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let found = Self {
            start: number(start)?,
            end: number(end)?,
            append_ms: number(append_ms)?,
            crc: u32::from_str_radix(crc, 16).map_err(|_| wrong())?,
        };
        if found.start >= found.end {
            return Err(wrong());
        }
        Ok(found)
    }
}

/// Name of the file while it is written.
pub(crate) fn temporary(start: u64, end: u64) -> String {
    format!("{start:020}-{end:020}{TEMPORARY}")
}

/// Whether a name is that of a file that never became a segment.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_name_round_trips(start in 0..u64::MAX, rows in 1..u64::MAX, append_ms in any::<u64>(), crc in any::<u32>()) {
            let name = SegmentName { start, end: start.saturating_add(rows), append_ms, crc };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn any_text_is_refused_or_says_what_it_means(text in "[0-9a-f+-]{0,50}(\\.parquet|\\.tmp|.*)") {
            if let Ok(name) = text.parse::<SegmentName>() {
                prop_assert!(name.start < name.end);
            }
        }
    }

    #[test]
    fn round_trip() {
        let name = SegmentName { start: 7, end: 1 << 40, append_ms: 1_700_000_000_123, crc: 0xdead_beef };
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn refuses_what_is_not_a_segment() {
        for name in ["", "x.parquet", "1-2-3-zz.parquet", "2-1-3-00.parquet", "1-2-3-00.tmp", "1-2-3-00-9.parquet"] {
            assert!(name.parse::<SegmentName>().is_err(), "{name}");
        }
    }
}
