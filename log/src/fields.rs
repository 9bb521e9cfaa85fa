//! Little-endian fields of fixed structures.

/// Reads fields one after the other. Lengths are checked by the caller beforehand; [`Fields::take`] tells.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes, or `None` when there are fewer.
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Whether all was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn try_u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn try_u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn try_u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.try_u64().expect("the structure's length was checked")
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.try_u32().expect("the structure's length was checked")
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.try_u16().expect("the structure's length was checked")
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }
}

/// Writes `field` at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_are_read_as_they_were_put(a in any::<u64>(), b in any::<u32>(), c in any::<u16>(), len in 0..20_usize) {
            let mut bytes = [0; 14];
            put(&mut bytes, 0, &a.to_le_bytes());
            put(&mut bytes, 8, &b.to_le_bytes());
            put(&mut bytes, 12, &c.to_le_bytes());
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!((fields.u64(), fields.u32(), fields.u16()), (a, b, c));
            prop_assert_eq!((fields.try_u16(), fields.try_u32(), fields.try_u64()), (None, None, None));
            // What does not fit takes nothing.
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.take(len), bytes.get(..len));
            prop_assert_eq!(fields.take(usize::MAX), None);
            prop_assert_eq!(fields.rest.len(), if len <= 14 { 14 - len } else { 14 });
        }
    }
}
