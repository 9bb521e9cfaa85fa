//! The bytes between two values of a JSON object, kept so that comparing them takes a few instructions.

use super::swar::wide_word_at;

/// Text between two values, without zero bytes.
pub(crate) struct Gap {
    bytes: usize,
    /// Sixteen bytes at a time: which of them count, and what they are. Most gaps have one word.
    first: (u128, u128),
    rest: Vec<(u128, u128)>,
}

impl Gap {
    pub(crate) fn new(text: &[u8]) -> Self {
        let word = |at: usize| {
            let used = (text.len() - at).min(16);
            let mask = u128::MAX.unbounded_shr(8 * (16 - used) as u32);
            (mask, wide_word_at(text, at))
        };
        Self { bytes: text.len(), first: word(0), rest: (16..text.len()).step_by(16).map(word).collect() }
    }

    /// Length of the gap when it is what `text` has at `at`.
    #[inline]
    pub(crate) fn matches(&self, text: &[u8], at: usize) -> Option<usize> {
        // Past the end there are zeros, which no gap has.
        let same = |at, (mask, word): &(u128, u128)| wide_word_at(text, at) & mask == *word;
        let all_same = same(at, &self.first) && (1..).zip(&self.rest).all(|(i, word)| same(at + 16 * i, word));
        all_same.then_some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn matches_where_the_text_goes_on_with_it(gap in "[ab]{1,40}", text in "[ab]{0,60}", at in 0_usize..60) {
            let expected = text.get(at..).is_some_and(|rest| rest.starts_with(&gap)).then_some(gap.len());
            prop_assert_eq!(Gap::new(gap.as_bytes()).matches(text.as_bytes(), at), expected);
            let around = format!("{text}{gap}{text}");
            prop_assert_eq!(Gap::new(gap.as_bytes()).matches(around.as_bytes(), text.len()), Some(gap.len()));
        }
    }
}
