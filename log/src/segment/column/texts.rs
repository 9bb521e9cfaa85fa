//! Texts and bytes.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::pages::{Dictionary, Encoded, Validity, Values, plain_text};
use super::slots::{Slots, mix};
use super::{MAX_DICTIONARY_BYTES, max_distinct, truncate};

/// Texts up to so many bytes are known by two words.
const SHORT: usize = 16;
/// Bytes before a text in the dictionary, its length.
const PREFIX: usize = 4;

pub(super) fn encode(arrays: &[ArrayRef], utf8: bool, validity: Validity) -> Encoded<'_> {
    let (values, bounds) = match with_dictionary(arrays, validity.values) {
        Some((distinct, indices)) => {
            let texts = || distinct.keys.iter().map(|key| key.text(&distinct.plain));
            let bounds = texts().min().zip(texts().max()).map(|(min, max)| owned(min, max));
            let dictionary = Dictionary { plain: distinct.plain, values: distinct.keys.len() };
            (Values::Indices(dictionary, indices), bounds)
        }
        None => {
            let mut all = Vec::with_capacity(validity.values);
            arrays.iter().for_each(|array| each(array, |text| all.push(text)));
            let bounds = all.iter().min().zip(all.iter().max()).map(|(min, max)| owned(min, max));
            (Values::Texts(all), bounds)
        }
    };
    Encoded { statistics: statistics(bounds, utf8, validity.nulls()), validity, values }
}

fn owned(min: &[u8], max: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (min.to_vec(), max.to_vec())
}

/// Long bounds are cut, as readers only skip by them.
fn statistics(bounds: Option<(Vec<u8>, Vec<u8>)>, utf8: bool, nulls: Option<u64>) -> Statistics {
    let (min, max) = bounds.unzip();
    let min = min.map(|min| truncate::lower(min, utf8));
    let max = max.map(|max| truncate::upper(max, utf8));
    let exact = |bound: &Option<truncate::Bound>| bound.as_ref().is_some_and(|bound| bound.exact);
    let (min_is_exact, max_is_exact) = (exact(&min), exact(&max));
    let bytes = |bound: truncate::Bound| ByteArray::from(bound.bytes);
    let statistics = ValueStatistics::new(min.map(bytes), max.map(bytes), None, nulls, false);
    Statistics::ByteArray(statistics.with_min_is_exact(min_is_exact).with_max_is_exact(max_is_exact))
}

/// The different texts, and of each its index; `None` when there are too many of them, or they are too long.
fn with_dictionary(arrays: &[ArrayRef], values: usize) -> Option<(Distinct, Vec<u32>)> {
    let mut distinct = Distinct { slots: Slots::new(), keys: Vec::new(), plain: Vec::new() };
    let mut indices = Vec::with_capacity(values);
    for array in arrays {
        each(array, |text| {
            // What is beyond is not looked at: the dictionary is given up.
            if distinct.plain.len() <= MAX_DICTIONARY_BYTES {
                indices.push(distinct.index(text));
            }
        });
        let too_large = distinct.plain.len() > MAX_DICTIONARY_BYTES || distinct.keys.len() > max_distinct(values);
        if too_large || distinct.slots.is_degenerate(indices.len()) {
            return None;
        }
    }
    Some((distinct, indices))
}

struct Distinct {
    slots: Slots,
    keys: Vec<Key>,
    /// The texts as `PLAIN` has them.
    plain: Vec<u8>,
}

/// What a text is found by: a short one *is* its words and its length, of a long one they are a hash.
#[derive(Clone, Copy)]
struct Key {
    words: (u64, u64),
    len: usize,
    /// In the dictionary.
    start: usize,
}

impl Key {
    fn text(self, plain: &[u8]) -> &[u8] {
        &plain[self.start + PREFIX..][..self.len]
    }
}

impl Distinct {
    #[inline]
    fn index(&mut self, text: &[u8]) -> u32 {
        let words = words(text);
        let len = text.len();
        let found = self.slots.find(hash(words, len), |index| {
            let key = self.keys[index];
            key.words == words && key.len == len && (len <= SHORT || key.text(&self.plain) == text)
        });
        found.unwrap_or_else(|slot| {
            self.keys.push(Key { words, len, start: self.plain.len() });
            plain_text(text, &mut self.plain);
            self.slots.occupy(slot, |index| hash(self.keys[index].words, self.keys[index].len))
        })
    }
}

#[inline]
fn hash(words: (u64, u64), len: usize) -> u64 {
    mix(words.0 ^ (len as u64), words.1)
}

#[inline]
fn words(text: &[u8]) -> (u64, u64) {
    let eight = |from: usize| u64::from_le_bytes(text[from..from + 8].try_into().expect("eight bytes"));
    let four = |from: usize| u64::from(u32::from_le_bytes(text[from..from + 4].try_into().expect("four bytes")));
    let one = |at: usize| u64::from(text[at]);
    match text.len() {
        0 => (0, 0),
        // First, middle and last byte are all.
        len @ 1..4 => (one(0) | one(len / 2) << 8 | one(len - 1) << 16, 0),
        // First and last ones overlap, and are all.
        len @ 4..8 => (four(0), four(len - 4)),
        len @ 8..=SHORT => (eight(0), eight(len - 8)),
        len => {
            let mut hash = 0;
            for from in (0..len - SHORT).step_by(SHORT) {
                hash = mix(hash ^ eight(from), eight(from + 8));
            }
            (mix(hash ^ eight(len - 16), eight(len - 8)), 0)
        }
    }
}

/// Hands out the texts that are not NULL.
fn each<'a>(array: &'a ArrayRef, mut with: impl FnMut(&'a [u8])) {
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            each_between(texts.value_offsets(), texts.value_data(), texts.nulls(), with);
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>();
            each_between(texts.value_offsets(), texts.value_data(), texts.nulls(), with);
        }
        DataType::Binary => {
            let texts = array.as_binary::<i32>();
            each_between(texts.value_offsets(), texts.value_data(), texts.nulls(), with);
        }
        DataType::LargeBinary => {
            let texts = array.as_binary::<i64>();
            each_between(texts.value_offsets(), texts.value_data(), texts.nulls(), with);
        }
        DataType::Utf8View => array.as_string_view().iter().flatten().for_each(|text| with(text.as_bytes())),
        DataType::BinaryView => array.as_binary_view().iter().flatten().for_each(with),
        other => unreachable!("{other} is neither text nor bytes"),
    }
}

#[inline]
fn each_between<'a, O: OffsetSizeTrait>(
    offsets: &[O],
    data: &'a [u8],
    nulls: Option<&NullBuffer>,
    mut with: impl FnMut(&'a [u8]),
) {
    let text = |row: usize| &data[offsets[row].as_usize()..offsets[row + 1].as_usize()];
    match nulls {
        Some(nulls) => nulls.valid_indices().for_each(|row| with(text(row))),
        None => (0..offsets.len() - 1).for_each(|row| with(text(row))),
    }
}
