//! Numbers and times: each value is a word of 64 bits here.

use std::borrow::Cow;

use arrow::array::{Array, ArrayData, ArrayRef};
use arrow::datatypes::{ArrowNativeType, DataType};
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::pages::{Dictionary, Encoded, Validity, Values};
use super::slots::{Slots, mix};
use super::{MAX_DICTIONARY_BYTES, max_distinct};

/// Values of a column that are looked at before a dictionary is begun.
const SAMPLE_VALUES: usize = 4096;
/// Values that are looked up together.
const BLOCK: usize = 64;

/// What the bits of a value mean, and how many bytes it has in memory.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in super::super) enum Kind {
    Signed(usize),
    Unsigned(usize),
    Float(usize),
}

impl Kind {
    pub(super) fn of(ty: &DataType) -> Option<Self> {
        Some(match ty {
            DataType::Int8 => Self::Signed(1),
            DataType::Int16 => Self::Signed(2),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Self::Signed(4),
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_) => Self::Signed(8),
            DataType::UInt8 => Self::Unsigned(1),
            DataType::UInt16 => Self::Unsigned(2),
            DataType::UInt32 => Self::Unsigned(4),
            DataType::UInt64 => Self::Unsigned(8),
            DataType::Float32 => Self::Float(4),
            DataType::Float64 => Self::Float(8),
            _ => return None,
        })
    }

    /// Bytes of a value in the file.
    fn stored_bytes(self) -> usize {
        let (Self::Signed(bytes) | Self::Unsigned(bytes) | Self::Float(bytes)) = self;
        bytes.max(4)
    }
}

pub(super) fn encode(arrays: &[ArrayRef], ty: &DataType, kind: Kind, validity: Validity) -> Encoded<'static> {
    let data: Vec<ArrayData> = arrays.iter().map(Array::to_data).collect();
    // Times differ from row to row and are close to each other.
    let times = matches!(ty, DataType::Timestamp(..));
    let dictionary = if times || mostly_distinct(&data, kind, validity.values) {
        None
    } else {
        with_dictionary(&data, kind, validity.values)
    };
    let (values, bounds) = match dictionary {
        Some((distinct, indices)) => {
            let bytes = kind.stored_bytes();
            let mut plain = Vec::with_capacity(distinct.len() * bytes);
            distinct.iter().for_each(|word| plain.extend_from_slice(&word.to_le_bytes()[..bytes]));
            let bounds = bounds(kind, &distinct);
            (Values::Indices(Dictionary { plain, values: distinct.len() }, indices), bounds)
        }
        None => {
            let mut all = Vec::with_capacity(validity.values);
            data.iter().for_each(|data| all.extend_from_slice(&words(data, kind)));
            let bounds = bounds(kind, &all);
            let values = match kind {
                Kind::Float(bytes) => Values::Split(all, bytes),
                Kind::Signed(_) | Kind::Unsigned(_) => Values::Deltas(all, kind.stored_bytes() == 4),
            };
            (values, bounds)
        }
    };
    Encoded { statistics: statistics(kind, bounds, validity.nulls()), validity, values }
}

/// The different values, and of each its index; `None` when there are too many of them.
fn with_dictionary(data: &[ArrayData], kind: Kind, values: usize) -> Option<(Vec<u64>, Vec<u32>)> {
    let max = max_distinct(values).min(MAX_DICTIONARY_BYTES / kind.stored_bytes());
    let (mut slots, mut distinct) = (Slots::new(), Vec::new());
    let mut indices = Vec::with_capacity(values);
    for data in data {
        for block in words(data, kind).chunks(BLOCK) {
            look_up(block, &mut slots, &mut distinct, &mut indices);
            if distinct.len() > max || slots.is_degenerate(indices.len()) {
                return None;
            }
        }
    }
    Some((distinct, indices))
}

/// Appends the indices of a block of values. Tables of many values are not in the processor's nearest cache: all entries
/// of a block are asked for before the first answer decides a branch.
fn look_up(block: &[u64], slots: &mut Slots, distinct: &mut Vec<u64>, indices: &mut Vec<u32>) {
    let mut likely = [0_u32; BLOCK];
    for (likely, word) in likely.iter_mut().zip(block) {
        *likely = slots.likely(mix(*word, *word));
    }
    let mut known = [0_u64; BLOCK];
    for ((known, likely), word) in known.iter_mut().zip(likely).zip(block) {
        *known = distinct.get(likely as usize).copied().unwrap_or(!word);
    }
    for ((known, likely), word) in known.iter().zip(likely).zip(block) {
        if known == word {
            indices.push(likely);
            continue;
        }
        let found = slots.find(mix(*word, *word), |index| distinct[index] == *word);
        indices.push(found.unwrap_or_else(|slot| {
            distinct.push(*word);
            slots.occupy(slot, |index| mix(distinct[index], distinct[index]))
        }));
    }
}

/// The values that are not NULL.
fn words(data: &ArrayData, kind: Kind) -> Cow<'_, [u64]> {
    match kind {
        Kind::Signed(1) => widened(data, |value: i8| i64::from(value).cast_unsigned()),
        Kind::Signed(2) => widened(data, |value: i16| i64::from(value).cast_unsigned()),
        Kind::Signed(4) => widened(data, |value: i32| i64::from(value).cast_unsigned()),
        Kind::Unsigned(1) => widened(data, |value: u8| value.into()),
        Kind::Unsigned(2) => widened(data, |value: u16| value.into()),
        Kind::Unsigned(4) | Kind::Float(4) => widened(data, |value: u32| value.into()),
        _ if data.null_count() == 0 => Cow::Borrowed(&data.buffer(0)[..data.len()]),
        _ => widened(data, |value: u64| value),
    }
}

fn widened<T: ArrowNativeType>(data: &ArrayData, widen: impl Fn(T) -> u64) -> Cow<'static, [u64]> {
    let values = &data.buffer::<T>(0)[..data.len()];
    match data.nulls() {
        Some(nulls) => nulls.valid_indices().map(|row| widen(values[row])).collect(),
        None => values.iter().map(|value| widen(*value)).collect(),
    }
}

/// Whether there are too many different values for a dictionary, by a sample. Readings rounded as sensors send them
/// have few; of those measured or computed in full precision hardly one comes twice.
fn mostly_distinct(data: &[ArrayData], kind: Kind, values: usize) -> bool {
    let step = values.div_ceil(SAMPLE_VALUES).max(1);
    let mut sample: Vec<u64> = Vec::new();
    data.iter().for_each(|data| sample.extend(words(data, kind).iter().step_by(step)));
    let sampled = sample.len();
    sample.sort_unstable();
    sample.dedup();
    let repeated = sampled - sample.len();
    // Of n values drawn from d, about n * n / 2d are repetitions, while d is larger than n.
    let worth_it = max_distinct(values).min(MAX_DICTIONARY_BYTES / kind.stored_bytes());
    repeated < (sampled * sampled / (2 * worth_it)).min(sampled / 2)
}

/// The smallest and the largest value, by the rules of Parquet's statistics: NaN is no value, and zero has the sign
/// that makes the bound hold for both zeros.
fn bounds(kind: Kind, words: &[u64]) -> Option<(u64, u64)> {
    match kind {
        Kind::Signed(_) => {
            let values = || words.iter().map(|word| word.cast_signed());
            values().min().zip(values().max()).map(|(min, max)| (min.cast_unsigned(), max.cast_unsigned()))
        }
        Kind::Unsigned(_) => words.iter().min().copied().zip(words.iter().max().copied()),
        Kind::Float(8) => float_bounds(words, f64::from_bits)
            .map(|(min, max)| (signed_zero(min, -0.0).to_bits(), signed_zero(max, 0.0).to_bits())),
        Kind::Float(_) => float_bounds(words, |word| f64::from(f32::from_bits(low(word)))).map(|(min, max)| {
            #[expect(clippy::cast_possible_truncation, reason = "it was one")]
            let bits = |value: f64| u64::from((value as f32).to_bits());
            (bits(signed_zero(min, -0.0)), bits(signed_zero(max, 0.0)))
        }),
    }
}

fn float_bounds(words: &[u64], float: impl Fn(u64) -> f64) -> Option<(f64, f64)> {
    // `min` and `max` of floats skip NaN.
    let (min, max) = words.iter().fold((f64::NAN, f64::NAN), |(min, max), word| {
        let value = float(*word);
        (value.min(min), value.max(max))
    });
    (!min.is_nan()).then_some((min, max))
}

fn signed_zero(value: f64, zero: f64) -> f64 {
    if value == 0.0 { zero } else { value }
}

/// The lower half.
fn low(word: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "it is what is asked for")]
    let low = word as u32;
    low
}

fn statistics(kind: Kind, bounds: Option<(u64, u64)>, nulls: Option<u64>) -> Statistics {
    fn typed<T>(
        bounds: Option<(u64, u64)>,
        nulls: Option<u64>,
        signed: bool,
        value: impl Fn(u64) -> T,
    ) -> ValueStatistics<T> {
        let (min, max) = bounds.map(|(min, max)| (value(min), value(max))).unzip();
        ValueStatistics::new(min, max, None, nulls, false).with_backwards_compatible_min_max(signed)
    }
    let signed = !matches!(kind, Kind::Unsigned(_));
    match (kind, kind.stored_bytes()) {
        (Kind::Float(_), 4) => Statistics::Float(typed(bounds, nulls, signed, |word| f32::from_bits(low(word)))),
        (Kind::Float(_), _) => Statistics::Double(typed(bounds, nulls, signed, f64::from_bits)),
        (_, 4) => Statistics::Int32(typed(bounds, nulls, signed, |word| low(word).cast_signed())),
        (..) => Statistics::Int64(typed(bounds, nulls, signed, u64::cast_signed)),
    }
}
