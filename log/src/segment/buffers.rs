//! Memory that segments are loaded into, used again: fresh pages for every file cost more than reading it out of the page
//! cache.

use bytes::Bytes;
use parking_lot::Mutex;

/// Buffers that wait to be used again, at most: as many as partitions are mostly read side by side.
const WAITING: usize = 4;
/// A larger buffer is given back to the system: a process that reads no more should not hold much.
const MAX_BYTES: usize = 16 << 20;

static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes that `fill` writes: all `len` of them, whatever stood there before.
pub(super) fn filled<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
    let mut buffer = Buffer(BUFFERS.lock().pop().unwrap_or_default());
    // Only what it grows by is zeroed.
    buffer.0.resize(len, 0);
    fill(&mut buffer.0)?;
    Ok(Bytes::from_owner(buffer))
}

struct Buffer(Vec<u8>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut waiting = BUFFERS.lock();
        if self.0.capacity() <= MAX_BYTES && waiting.len() < WAITING {
            waiting.push(std::mem::take(&mut self.0));
        }
    }
}
