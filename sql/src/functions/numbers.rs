//! What a fold has come to, as numbers: a walk over all of them that either writes or reads.

use datafusion::common::{Result, internal_err};

use super::samples::Sample;

/// Walks over the numbers of a state, always in one order.
#[derive(Debug)]
pub(super) enum Numbers {
    /// Collects them, as bits.
    Write(Vec<i64>),
    /// Puts them back, the next one last.
    Read(Vec<i64>),
}

impl Numbers {
    /// Reads what was written.
    pub(super) fn of(mut written: Vec<i64>) -> Self {
        written.reverse();
        Self::Read(written)
    }

    fn bits(&mut self, bits: &mut i64) -> Result<()> {
        match self {
            Self::Write(numbers) => numbers.push(*bits),
            Self::Read(numbers) => match numbers.pop() {
                Some(number) => *bits = number,
                None => return internal_err!("a stored state has too few numbers"),
            },
        }
        Ok(())
    }

    /// The next number is this one.
    pub(super) fn float(&mut self, value: &mut f64) -> Result<()> {
        let mut bits = value.to_bits().cast_signed();
        self.bits(&mut bits)?;
        *value = f64::from_bits(bits.cast_unsigned());
        Ok(())
    }

    /// The next numbers are a sample, if there is one.
    pub(super) fn sample(&mut self, sample: &mut Option<Sample>) -> Result<()> {
        let mut is_some = i64::from(sample.is_some());
        self.bits(&mut is_some)?;
        let mut known = sample.unwrap_or(Sample { time_us: 0, value: 0.0 });
        self.bits(&mut known.time_us)?;
        self.float(&mut known.value)?;
        *sample = (is_some != 0).then_some(known);
        Ok(())
    }
}
