//! Decodes the segments of a partition ahead of who reads them, on a thread of its own: a reader that works on its rows
//! finds the next ones decoded.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use parking_lot::Mutex;

use crate::error::Result;
use crate::partition::SelectedRows;
use crate::partition::segments::Segments;

/// Sealed rows ahead of a reader that are worth a thread.
pub(super) const ROWS: u64 = 1 << 16;

/// Batches that wait for their reader, at most.
const WAITING: usize = 8;

/// Rows decoded ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    // Only ever used through `&mut`; the lock makes it shareable.
    batches: Mutex<Receiver<Result<SelectedRows>>>,
}

impl Ahead {
    /// Decodes from where `segments` stands, until there are no more or this is dropped. `None` when as many do so as the
    /// machine has processors: more would only hold memory.
    pub(super) fn start(mut segments: Segments) -> Option<Self> {
        let permit = Permit::take()?;
        let (sender, batches) = sync_channel(WAITING);
        let decode = move || {
            let _permit = permit;
            while let Some(next) = segments.next().transpose() {
                let is_last = next.is_err();
                if sender.send(next).is_err() || is_last {
                    return;
                }
            }
        };
        // Without a thread the reader decodes itself.
        thread::Builder::new().name("thermocline-read".to_owned()).spawn(decode).ok()?;
        Some(Self { batches: Mutex::new(batches) })
    }

    /// The next rows; `None` when no segment holds what follows.
    pub(super) fn next(&mut self) -> Result<Option<SelectedRows>> {
        self.batches.get_mut().recv().ok().transpose()
    }
}

/// The right to run a thread.
struct Permit;

/// Threads that decode ahead, of all logs of the process.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

impl Permit {
    fn take() -> Option<Self> {
        static PROCESSORS: OnceLock<usize> = OnceLock::new();
        let processors = *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from));
        let one_more = |running: usize| (running < processors).then_some(running + 1);
        RUNNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}
