//! `swinging_door(value, time, deviation)`: whether to keep a row so that straight lines between the rows kept stay
//! within a deviation of all others.
//!
//! ```text
//!  value      ┌ upper door: the least slope to a value + deviation
//!    │   ·  ╱    ·
//!    │  ╱   ·  ╱       a row is kept when the line to the row after it leaves the doors
//!    │╱  ─────────  lower door: the greatest slope to a value − deviation
//!    └──────────────▶ time
//! ```
//!
//! E. H. Bristol, "Data compression for display and storage", US patent 4,669,097 (1987), expired; "Swinging door
//! trending: adaptive trend recording?", ISA National Conference 1990. Rows are kept as they are, as historians do it;
//! so the doors must let the line to the next row through, which is what makes the deviation a bound.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;

use super::arguments::{constant_width, numbers, sample_types, times};
use super::row::{Memory, RowFunction};
use super::samples::Sample;

const USAGE: &str = "swinging_door(value, time, deviation)";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SwingingDoor;

impl RowFunction for SwingingDoor {
    type Memory = Trend;
    const NAME: &'static str = "swinging_door";
    const USAGE: &'static str = USAGE;
    const DESCRIPTION: &'static str = "Whether to keep a row so that lines between those kept stay within a deviation.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        sample_types(USAGE, types, 1..=1)
    }

    fn result_type(_types: &[DataType]) -> DataType {
        DataType::Boolean
    }

    fn memory(_types: &[DataType], args: &[Arc<dyn PhysicalExpr>]) -> Result<Trend> {
        Ok(Trend { deviation: constant_width(USAGE, &args[2])?, previous: None, doors: None })
    }
}

/// The rows since the last one kept.
#[derive(Debug)]
pub(super) struct Trend {
    deviation: f64,
    /// The row before.
    previous: Option<Point>,
    /// `None` where no line can begin.
    doors: Option<Doors>,
}

/// A row as the trend sees it.
#[derive(Debug, Clone, Copy)]
enum Point {
    Sample(Sample),
    /// NULL, or a value or time that no line goes through. Two of one kind are alike.
    Gap(Option<u64>),
}

impl Point {
    fn at(args: &[ArrayRef], row: usize) -> Result<Self> {
        let (values, times) = (numbers(&args[0])?, times(&args[1])?);
        if values.is_null(row) || times.is_null(row) {
            return Ok(Self::Gap(None));
        }
        let sample = Sample::new(times.value(row), values.value(row));
        Ok(match sample.value.is_finite() {
            true => Self::Sample(sample),
            false => Self::Gap(Some(sample.value.to_bits())),
        })
    }
}

/// The slopes of the lines from the last row kept that pass all rows since within the deviation.
#[derive(Debug, Clone, Copy)]
struct Doors {
    pivot: Sample,
    lower: f64,
    upper: f64,
}

impl Doors {
    fn from(pivot: Sample) -> Self {
        Self { pivot, lower: f64::NEG_INFINITY, upper: f64::INFINITY }
    }

    /// Lines go either way in time, so that descending rows are as good.
    fn length_us(&self, sample: Sample) -> f64 {
        sample.since_us(&self.pivot).abs()
    }

    /// Whether the line to a row passes all rows so far. At the pivot's own time there is no line.
    fn admit(&self, sample: Sample) -> bool {
        let length_us = self.length_us(sample);
        let slope = (sample.value - self.pivot.value) / length_us;
        length_us == 0.0 || (self.lower <= slope && slope <= self.upper)
    }

    /// Whether a row at the pivot's own time is too far from it.
    fn is_jump(&self, sample: Sample, deviation: f64) -> bool {
        self.length_us(sample) == 0.0 && (sample.value - self.pivot.value).abs() > deviation
    }

    /// Closes the doors so far that lines pass a row too.
    fn swing(&mut self, sample: Sample, deviation: f64) {
        let length_us = self.length_us(sample);
        if length_us > 0.0 {
            let rise = sample.value - self.pivot.value;
            self.lower = self.lower.max((rise - deviation) / length_us);
            self.upper = self.upper.min((rise + deviation) / length_us);
        }
    }
}

impl Trend {
    fn keeps(&mut self, point: Point, following: Option<Point>) -> bool {
        match (point, self.previous) {
            (Point::Gap(kind), Some(Point::Gap(before))) => kind != before || following.is_none(),
            (Point::Gap(_), _) | (Point::Sample(_), None | Some(Point::Gap(_))) => true,
            (Point::Sample(sample), Some(Point::Sample(_))) => {
                let Some(doors) = &mut self.doors else { return true };
                if doors.is_jump(sample, self.deviation) {
                    return true;
                }
                doors.swing(sample, self.deviation);
                match following {
                    Some(Point::Sample(next)) => !doors.admit(next),
                    Some(Point::Gap(_)) | None => true,
                }
            }
        }
    }
}

impl Memory for Trend {
    const LOOKS_AHEAD: bool = true;

    fn next(&mut self, args: &[ArrayRef], row: usize, following: Option<usize>) -> Result<ScalarValue> {
        let point = Point::at(args, row)?;
        let following = following.map(|row| Point::at(args, row)).transpose()?;
        let keeps = self.keeps(point, following);
        if keeps {
            self.doors = match point {
                Point::Sample(sample) => Some(Doors::from(sample)),
                Point::Gap(_) => None,
            };
        }
        self.previous = Some(point);
        Ok(ScalarValue::Boolean(Some(keeps)))
    }
}
