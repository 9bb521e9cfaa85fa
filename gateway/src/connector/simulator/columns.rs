//! Which column of the stream gets what, by name and type.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use super::config::SimulatorConfig;
use super::plant::{COLUMNS, Plant, Reading};
use crate::decode::{Kind, RowShape, Rows, Scalar, Scratch};
use crate::error::{Error, Result};

/// Makes rows of a stream's shape.
#[derive(Debug)]
pub(super) struct Filler {
    shape: Arc<RowShape>,
    columns: Vec<Content>,
    /// `dev-0001` and so on.
    names: Vec<String>,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
enum Content {
    Device,
    EventTime,
    Status,
    /// A reading that wanders.
    Signal(Signal),
    /// Microseconds after the event time, up to this many.
    LaterTime(i64),
    Date,
    Flag,
    /// The column's name and one of a few numbers.
    Label(String),
    Bytes,
    Null,
}

/// How a quantity behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Signal {
    /// Devices have their own base in this range.
    base: (f64, f64),
    /// How far it wanders from the base.
    wander: f64,
    /// Deviation of the noise on it.
    noise: f64,
    /// Height of a spike.
    spike: f64,
}

/// Quantities by a part of the column's name; the last is for all other names.
const SIGNALS: [(&str, Signal); 10] = [
    ("temp", Signal { base: (40.0, 80.0), wander: 6.0, noise: 0.3, spike: 30.0 }),
    ("press", Signal { base: (1_008.0, 1_018.0), wander: 4.0, noise: 0.5, spike: 40.0 }),
    ("vibr", Signal { base: (0.8, 1.6), wander: 0.4, noise: 0.1, spike: 4.0 }),
    ("humid", Signal { base: (30.0, 60.0), wander: 8.0, noise: 0.5, spike: 20.0 }),
    ("volt", Signal { base: (228.0, 232.0), wander: 3.0, noise: 0.4, spike: 25.0 }),
    ("current", Signal { base: (5.0, 15.0), wander: 2.0, noise: 0.2, spike: 12.0 }),
    ("power", Signal { base: (2.0, 8.0), wander: 1.5, noise: 0.1, spike: 6.0 }),
    ("rpm", Signal { base: (1_400.0, 1_600.0), wander: 60.0, noise: 5.0, spike: 400.0 }),
    ("flow", Signal { base: (10.0, 40.0), wander: 5.0, noise: 0.3, spike: 15.0 }),
    ("", Signal { base: (20.0, 80.0), wander: 8.0, noise: 0.5, spike: 30.0 }),
];

/// Signals wander over about this many seconds.
const WANDER_S: f64 = 900.0;

impl Filler {
    /// Decides what each column of the stream gets.
    ///
    /// # Errors
    /// A column without NULL has a type that nothing can be made for.
    pub(super) fn new(shape: &Arc<RowShape>, config: &SimulatorConfig) -> Result<Self> {
        let is_text = |i: &usize| shape.columns[*i].kind == Kind::Text;
        let is_time = |i: &usize| matches!(shape.columns[*i].kind, Kind::Timestamp(_));
        let indices = || 0..shape.columns.len();
        let named = indices().filter(is_text).find(|i| shape.columns[*i].name == "device_id");
        let device = named.or_else(|| indices().filter(is_text).find(|i| shape.columns[*i].name != "status"));
        let event_time = shape.event_time.map(|event_time| event_time.column).or_else(|| indices().find(is_time));
        let mut columns = Vec::new();
        for i in indices() {
            let column = &shape.columns[i];
            columns.push(match column.kind {
                _ if device == Some(i) => Content::Device,
                _ if event_time == Some(i) => Content::EventTime,
                Kind::Text if column.name == "status" => Content::Status,
                Kind::Text => Content::Label(column.name.clone()),
                Kind::Timestamp(_) => Content::LaterTime(500_000),
                Kind::Date => Content::Date,
                Kind::Boolean => Content::Flag,
                Kind::Bytes => Content::Bytes,
                Kind::Unsupported if column.nullable => Content::Null,
                Kind::Unsupported => {
                    let reason = format!("column {:?}: nothing can be made up for {}", column.name, column.type_name);
                    return Err(Error::Malformed { format: "simulated rows", reason });
                }
                Kind::Int { .. } | Kind::UInt { .. } | Kind::Float64 | Kind::Float32 | Kind::Decimal { .. } => {
                    let name = column.name.to_ascii_lowercase();
                    let signal = SIGNALS.iter().find(|(part, _)| name.contains(part));
                    Content::Signal(signal.expect("the last part is in every name").1)
                }
            });
        }
        let names = (1..=config.devices).map(|device| format!("dev-{device:04}")).collect();
        Ok(Self { shape: Arc::clone(shape), columns, names })
    }

    /// The rows of a range of row numbers.
    ///
    /// # Errors
    /// Only when Arrow refuses the columns, which have the stream's types.
    pub(super) fn fill(&self, plant: &Plant, numbers: Range<u64>) -> Result<RecordBatch> {
        let capacity = usize::try_from(numbers.end - numbers.start).unwrap_or(0);
        // Held against the end of time: what the clock shows must not change the rows.
        let mut rows = Rows::new(&self.shape, capacity, i64::MAX);
        let mut scratch = Scratch::new(&self.shape);
        for number in numbers {
            let reading = plant.reading(number);
            for (i, content) in self.columns.iter().enumerate() {
                scratch.put(i, self.scalar(i, content, plant, &reading));
            }
            rows.take(number, b"", &scratch, Ok(()));
        }
        let decoded = rows.finish(0)?;
        let empty = || RecordBatch::new_empty(Arc::clone(self.shape.schema()));
        Ok(decoded.rows.into_iter().next().unwrap_or_else(empty))
    }

    fn scalar(&self, i: usize, content: &Content, plant: &Plant, reading: &Reading) -> Scalar<'_> {
        let kind = COLUMNS + 16 * i as u64;
        let bits = || plant.noise.bits(kind + 8, reading.row, 0);
        match content {
            Content::Device => Scalar::Text(self.names[reading.device as usize].as_str().into()),
            Content::EventTime => Scalar::Int(reading.event_us),
            Content::Status => Scalar::Text(plant.status(reading).into()),
            Content::Signal(signal) => self.number(i, signal.at(plant, kind, reading)),
            Content::LaterTime(us) => Scalar::Int(reading.event_us + (bits() % us.unsigned_abs()) as i64),
            Content::Date => Scalar::Int(reading.event_us.div_euclid(86_400_000_000)),
            Content::Flag => Scalar::Bool(bits() % 20 != 0),
            Content::Label(name) => Scalar::Text(format!("{name}-{}", reading.device % 5 + 1).into()),
            Content::Bytes => Scalar::Bytes(bits().to_be_bytes().to_vec()),
            Content::Null => Scalar::Null,
        }
    }

    /// A number as its column takes it: three decimals where it has decimals, within the range where it has one.
    fn number(&self, i: usize, value: f64) -> Scalar<'static> {
        let value = (value * 1e3).round() / 1e3;
        match self.shape.columns[i].kind {
            Kind::Int { min, max } => Scalar::Int((value.round() as i64).clamp(min, max)),
            Kind::UInt { max } => Scalar::UInt((value.round() as u64).min(max)),
            Kind::Decimal { precision, scale } => {
                let largest = 10_f64.powi(i32::from(precision)) - 1.0;
                Scalar::Decimal((value * 10_f64.powi(i32::from(scale))).round().clamp(-largest, largest) as i128)
            }
            _ if matches!(self.shape.schema().field(i).data_type(), DataType::Float32) => {
                Scalar::Float(f64::from(value as f32))
            }
            _ => Scalar::Float(value),
        }
    }
}

impl Signal {
    fn at(&self, plant: &Plant, kind: u64, reading: &Reading) -> f64 {
        let (low, high) = self.base;
        let base = low + (high - low) * plant.noise.uniform(kind + 9, reading.device, 0);
        let wander = plant.noise.wander(kind, reading.device, reading.event_us as f64 / 1e6 / WANDER_S);
        let noise = plant.noise.normal(kind + 10, reading.row, 0);
        base + wander * self.wander + noise * self.noise + reading.spike * self.spike
    }
}
