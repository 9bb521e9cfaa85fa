//! The six columns of the workload, as a program without checks of its own would build them.

use arrow::array::{Array, Float64Builder, StringBuilder, TimestampMicrosecondBuilder};

/// Names of the columns, in the order of the file.
pub const NAMES: [&str; 6] = ["device_id", "ts", "temperature", "pressure", "vibration", "status"];

/// Arrow's own builders.
pub struct Columns {
    device_id: StringBuilder,
    ts: TimestampMicrosecondBuilder,
    numbers: [Float64Builder; 3],
    status: StringBuilder,
}

impl Columns {
    /// Builders with room for `rows`.
    pub fn new(rows: usize) -> Self {
        Self {
            device_id: StringBuilder::with_capacity(rows, rows * 8),
            ts: TimestampMicrosecondBuilder::with_capacity(rows),
            numbers: std::array::from_fn(|_| Float64Builder::with_capacity(rows)),
            status: StringBuilder::with_capacity(rows, rows * 4),
        }
    }

    /// Appends a text to column 0 or 5.
    #[inline]
    pub fn text(&mut self, column: usize, text: &str) {
        if column == 0 { &mut self.device_id } else { &mut self.status }.append_value(text);
    }

    /// Appends milliseconds to column 1.
    #[inline]
    pub fn time(&mut self, ms: i64) {
        self.ts.append_value(ms * 1000);
    }

    /// Appends a number to column 2, 3 or 4.
    #[inline]
    pub fn number(&mut self, column: usize, number: f64) {
        self.numbers[column - 2].append_value(number);
    }

    /// Rows of finished arrays.
    pub fn finish(mut self) -> usize {
        let times = self.ts.finish();
        let numbers = self.numbers.each_mut().map(|builder| builder.finish().len());
        let texts = [self.device_id.finish().len(), self.status.finish().len()];
        assert!(numbers.iter().chain(&texts).all(|rows| *rows == times.len()), "every row has every column");
        times.len()
    }
}

/// The column of a key: the n-th in nearly every row.
#[inline]
pub fn column(field: usize, key: &str) -> Option<usize> {
    if NAMES.get(field) == Some(&key) { Some(field) } else { NAMES.iter().position(|name| *name == key) }
}
