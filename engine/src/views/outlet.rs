//! The watermark between two queries: how far the one that makes the rows of a view has got, for those that read them.
//!
//! A reader that took the watermark of the rows alone would wait for the next row, which may be filtered out or never come. What
//! is told here is exact: no row before it comes any more. So no row is late by it, and a reader's results do not depend on
//! when it is told. Only what is durable is told: after a crash the writer goes on from no earlier watermark.

use std::sync::Arc;

use thermocline_log::{Log, Stream};
use thermocline_sql::Window;
use tokio::sync::watch;

use crate::error::Result;
use crate::watermark::NO_WATERMARK;

/// What the readers of a view share with its writer.
pub(crate) type Told = Arc<watch::Sender<Reached>>;

/// How far a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The rows below this offset are there,
    offset: u64,
    /// and all that comes of rows before this watermark is among them.
    watermark_us: i64,
}

impl Reached {
    /// Nothing is known.
    pub(crate) const NOTHING: Self = Self { offset: 0, watermark_us: NO_WATERMARK };
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    log: Log,
    stream: Stream,
    told: Told,
    told_us: i64,
    grid: Grid,
}

/// The instants at which readers may have something to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    step_us: i64,
    offset_us: i64,
}

impl Grid {
    /// Rows that windows do not give a grid.
    pub(crate) const SECONDS: Self = Self { step_us: 1_000_000, offset_us: 0 };

    /// The ends of windows.
    pub(crate) fn of(window: &Window) -> Self {
        match window {
            Window::Tumble { size_us, offset_us } => Self { step_us: *size_us, offset_us: *offset_us },
            Window::Cumulate { step_us, offset_us, .. } => Self { step_us: *step_us, offset_us: *offset_us },
            Window::Hop { slide_us, size_us, offset_us } => {
                Self { step_us: common_divisor(*slide_us, *size_us), offset_us: *offset_us }
            }
            // Offsets of time zones are multiples of it.
            Window::Calendar(_) => Self { step_us: 15 * 60 * 1_000_000, offset_us: 0 },
        }
    }

    fn number(self, time_us: i64) -> i64 {
        time_us.saturating_sub(self.offset_us).div_euclid(self.step_us)
    }
}

fn common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a.max(1) } else { common_divisor(b, a % b) }
}

impl Outlet {
    pub(crate) fn new(log: &Log, stream: &Stream, told: &Told, grid: Grid) -> Self {
        let told = Arc::clone(told);
        Self { log: log.clone(), stream: stream.clone(), told, told_us: NO_WATERMARK, grid }
    }

    /// Whether the watermark has moved so far that readers, if there are any, wait for it: it is committed then, with rows or without.
    pub(crate) fn owes(&self, watermark_us: i64) -> bool {
        let has_readers = self.told.receiver_count() > 0;
        has_readers
            && watermark_us != NO_WATERMARK
            && (self.told_us == NO_WATERMARK || self.grid.number(watermark_us) > self.grid.number(self.told_us))
    }

    /// Tells the watermark of what was committed last.
    pub(crate) fn tell(&mut self, watermark_us: i64) -> Result<()> {
        self.told_us = watermark_us;
        let offset = self.log.range(self.stream.id(), 0)?.end;
        self.told.send_replace(Reached { offset, watermark_us });
        Ok(())
    }
}

/// A reader's end.
#[derive(Debug)]
pub(crate) struct Inlet {
    /// Held, so that it does not end with the writer.
    _told: Told,
    reached: watch::Receiver<Reached>,
    ahead_us: i64,
    floor_us: i64,
}

impl Inlet {
    /// `ahead_us`: how much later than the writer's watermark the reader's event time is.
    pub(crate) fn new(told: &Told, ahead_us: i64) -> Self {
        Self { _told: Arc::clone(told), reached: told.subscribe(), ahead_us, floor_us: NO_WATERMARK }
    }

    /// Takes what was told into account, once the reader has the rows that it is about.
    pub(crate) fn look(&mut self, next_offset: u64) {
        let Reached { offset, watermark_us } = *self.reached.borrow_and_update();
        if watermark_us != NO_WATERMARK && next_offset >= offset {
            self.floor_us = self.floor_us.max(watermark_us.saturating_add(self.ahead_us));
        }
    }

    /// No row before this comes any more.
    pub(crate) fn floor_us(&self) -> i64 {
        self.floor_us
    }

    /// Resolves when something was told since the last look.
    pub(crate) async fn changed(&mut self) {
        // The sender is held here: it does not go away.
        let _ = self.reached.changed().await;
    }
}

/// Resolves when something was told; never where there is no inlet.
pub(crate) async fn told(inlet: Option<&mut Inlet>) {
    match inlet {
        Some(inlet) => inlet.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_by_what_was_told_once_it_has_the_rows() {
        let told: Told = Arc::new(watch::Sender::new(Reached::NOTHING));
        let mut inlet = Inlet::new(&told, 1);
        inlet.look(100);
        assert_eq!(inlet.floor_us(), NO_WATERMARK);
        told.send_replace(Reached { offset: 5, watermark_us: 60 });
        inlet.look(4);
        assert_eq!(inlet.floor_us(), NO_WATERMARK);
        inlet.look(5);
        assert_eq!(inlet.floor_us(), 61);
        told.send_replace(Reached { offset: 9, watermark_us: 120 });
        inlet.look(6);
        assert_eq!(inlet.floor_us(), 61, "what holds goes on holding");
    }

    #[test]
    fn a_grid_has_the_ends_of_all_windows() {
        let hop = Window::Hop { slide_us: 10, size_us: 25, offset_us: 3 };
        let grid = Grid::of(&hop);
        assert_eq!(grid.step_us, 5);
        assert_eq!((grid.number(2), grid.number(3), grid.number(7), grid.number(8)), (-1, 0, 0, 1));
    }
}
