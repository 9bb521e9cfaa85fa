//! DDSketch: counts in buckets whose width is relative to the value.
//!
//! C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees",
//! VLDB 2019. The buckets are those of its fast variant: every power of two is cut into 2^k equal parts, so that a
//! bucket is the leading bits of the number. That needs no logarithm, which differs between machines. Buckets are never
//! collapsed: sketches merge to the same counts whatever the order, and the bound holds for every quantile.

use arrow::array::Float64Array;

/// Buckets that are cut finer would not be fewer than the values.
const MAX_BITS: u32 = 13;
/// The bucket of NaN, which is greater than any number.
const NAN: i32 = i32::MAX;
/// Explicit bits of a 64-bit float's fraction.
const FRACTION_BITS: u32 = 52;

/// How finely buckets are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buckets {
    /// k: each power of two has 2^k buckets.
    bits: u32,
}

impl Buckets {
    /// The coarsest buckets whose midpoints are within a relative error of all their values, if there are such.
    pub(super) fn within(relative_error: f64) -> Option<Self> {
        let bits = (0..=MAX_BITS).find(|bits| 0.5_f64.powi(*bits as i32 + 1) <= relative_error)?;
        Some(Self { bits })
    }

    fn shift(self) -> u32 {
        FRACTION_BITS - self.bits
    }

    /// The bucket of a value; in the order of values. Numbers below the least normal one (2.2e-308) are zero's.
    pub(super) fn bucket(self, value: f64) -> i32 {
        if value.is_nan() {
            return NAN;
        }
        if value.abs() < f64::MIN_POSITIVE {
            return 0;
        }
        let leading = (value.abs().to_bits() >> self.shift()) as i32;
        let bucket = leading - self.before_first();
        if value < 0.0 { -bucket } else { bucket }
    }

    /// The middle of a bucket.
    fn middle(self, bucket: i32) -> f64 {
        if bucket == NAN {
            return f64::NAN;
        }
        if bucket == 0 {
            return 0.0;
        }
        let leading = u64::from(bucket.unsigned_abs()) + self.before_first() as u64;
        let lower = f64::from_bits(leading << self.shift());
        let middle = match lower.is_finite() {
            true => f64::from_bits((leading << self.shift()) | 1 << (self.shift() - 1)),
            false => lower,
        };
        if bucket < 0 { -middle } else { middle }
    }

    /// The leading bits of the number before the first bucket.
    fn before_first(self) -> i32 {
        (1 << self.bits) - 1
    }
}

/// Counts by bucket, with the least and the greatest number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sketch {
    /// Bucket and count, in order of the buckets.
    pub(super) counts: Vec<(i32, u64)>,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { counts: Vec::new(), min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Sketch {
    /// Adds a value.
    pub(super) fn add(&mut self, buckets: Buckets, value: f64) {
        self.add_count(buckets.bucket(value), 1);
        self.extend(value, value);
    }

    /// Widens the range of numbers; NaN is none, and minus zero is zero.
    pub(super) fn extend(&mut self, min: f64, max: f64) {
        self.min = self.min.min(min + 0.0);
        self.max = self.max.max(max + 0.0);
    }

    /// Adds to a bucket.
    pub(super) fn add_count(&mut self, bucket: i32, count: u64) {
        match self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.counts[at].1 += count,
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// Takes one value out of a bucket. The range stays.
    pub(super) fn take_one(&mut self, bucket: i32) {
        if let Ok(at) = self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            self.counts[at].1 -= 1;
            if self.counts[at].1 == 0 {
                self.counts.remove(at);
            }
        }
    }

    /// The value that at least the fraction `q` of the values do not exceed; `None` without values.
    pub(super) fn quantile(&self, buckets: Buckets, q: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().map(|(_, count)| count).sum();
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        let (bucket, _) = self.counts.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        })?;
        let middle = buckets.middle(*bucket);
        // The true value is in the range too.
        Some(if middle.is_nan() { middle } else { middle.max(self.min).min(self.max) })
    }

    /// The quantiles of many.
    pub(super) fn quantiles(sketches: &[Self], buckets: Buckets, q: f64) -> Float64Array {
        sketches.iter().map(|sketch| sketch.quantile(buckets, q)).collect()
    }
}
