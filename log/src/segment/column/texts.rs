//! Texts and bytes.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::pages::{Dictionary, Encoded, Validity, Values, plain_text};
use super::slots::{Slots, mix};
use super::{MAX_DICTIONARY_BYTES, max_distinct, truncate};

/// Texts up to so many bytes are known by one word.
const SHORT: usize = 16;
/// Bytes of the length that is before a text in the dictionary.
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
            arrays.iter().for_each(|array| each(array, |data, start, end| all.push(&data[start..end])));
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

/// Rows between two looks whether a dictionary pays: texts made to collide cost no more than this many steps each.
const PIECE_ROWS: usize = 8192;

/// The different texts, and of each its index; `None` when there are too many of them, or they are too long.
fn with_dictionary(arrays: &[ArrayRef], values: usize) -> Option<(Distinct, Vec<u32>)> {
    let mut distinct = Distinct { slots: Slots::new(), keys: Vec::new(), plain: Vec::new() };
    let mut indices = Vec::with_capacity(values);
    let pieces = arrays.iter().flat_map(|array| {
        let starts = (0..array.len()).step_by(PIECE_ROWS);
        starts.map(|start| array.slice(start, PIECE_ROWS.min(array.len() - start)))
    });
    for piece in pieces {
        each(&piece, |data, start, end| {
            // What is beyond is not looked at: the dictionary is given up.
            if distinct.plain.len() <= MAX_DICTIONARY_BYTES {
                indices.push(distinct.index(data, start, end));
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

/// What a text is found by: a short one *is* its word and its length, of a long one the word is a hash.
#[derive(Clone, Copy)]
struct Key {
    word: u128,
    len: u32,
    /// Of the text in the dictionary.
    start: u32,
}

impl Key {
    fn text(self, plain: &[u8]) -> &[u8] {
        &plain[self.start as usize..][..self.len as usize]
    }

    fn hash(self) -> u64 {
        hash(self.word, self.len)
    }
}

impl Distinct {
    /// The index of the text at `start..end`.
    #[inline]
    fn index(&mut self, data: &[u8], start: usize, end: usize) -> u32 {
        let (word, len) = (word(data, start, end), length(end - start));
        let found = self.slots.find(hash(word, len), |index| {
            let key = self.keys[index];
            key.word == word && key.len == len && (end - start <= SHORT || key.text(&self.plain) == &data[start..end])
        });
        found.unwrap_or_else(|slot| {
            self.keys.push(Key { word, len, start: length(self.plain.len() + PREFIX) });
            plain_text(&data[start..end], &mut self.plain);
            self.slots.occupy(slot, |index| self.keys[index].hash())
        })
    }
}

#[inline]
fn hash(word: u128, len: u32) -> u64 {
    mix(low(word) ^ u64::from(len), low(word >> 64))
}

/// A short text filled up with zeros, or the hash of a long one.
#[inline]
fn word(data: &[u8], start: usize, end: usize) -> u128 {
    let len = end - start;
    if len > SHORT {
        return long_hash(&data[start..end]).into();
    }
    if let Some(text) = data[start..].first_chunk::<SHORT>() {
        // Without a branch for each length.
        return u128::from_le_bytes(*text) & MASKS[len];
    }
    let mut text = [0; SHORT];
    text[..len].copy_from_slice(&data[start..end]);
    u128::from_le_bytes(text)
}

/// Of each length up to [`SHORT`], the bits that are the text's.
const MASKS: [u128; SHORT + 1] = {
    let mut masks = [u128::MAX; SHORT + 1];
    let mut len = 0;
    while len < SHORT {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

fn long_hash(text: &[u8]) -> u64 {
    let add = |hash, chunk: &[u8; SHORT]| {
        let word = u128::from_le_bytes(*chunk);
        mix(hash ^ low(word), low(word >> 64))
    };
    let (chunks, _) = text.as_chunks();
    // The last ones may overlap.
    let hash = text.last_chunk().map_or(0, |last| add(0, last));
    chunks.iter().fold(hash, add)
}

/// The lower half.
#[inline]
fn low(word: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "it is what is asked for")]
    let low = word as u64;
    low
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no text of a row has 4 GiB")
}

/// Hands out the texts that are not NULL: in which bytes each is, from where, and to where.
fn each<'a>(array: &'a ArrayRef, mut with: impl FnMut(&'a [u8], usize, usize)) {
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
        DataType::Utf8View => {
            array.as_string_view().iter().flatten().for_each(|text| with(text.as_bytes(), 0, text.len()))
        }
        DataType::BinaryView => array.as_binary_view().iter().flatten().for_each(|bytes| with(bytes, 0, bytes.len())),
        other => unreachable!("{other} is neither text nor bytes"),
    }
}

#[inline]
fn each_between<'a, O: OffsetSizeTrait>(
    offsets: &[O],
    data: &'a [u8],
    nulls: Option<&NullBuffer>,
    mut with: impl FnMut(&'a [u8], usize, usize),
) {
    let with_row = |row: usize| with(data, offsets[row].as_usize(), offsets[row + 1].as_usize());
    match nulls {
        Some(nulls) => nulls.valid_indices().for_each(with_row),
        None => (0..offsets.len() - 1).for_each(with_row),
    }
}
