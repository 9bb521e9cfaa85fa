//! Options of the `simulator` connector.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connector::OptionProblem;
use crate::connector::options::{OptionReader, parse_duration};
use crate::decode::parse_timestamp_us;

/// Event time of the first row when event time does not go with the clock: 2026-01-01T00:00:00Z.
const DEFAULT_START_US: i64 = 1_767_225_600_000_000;
const OPTIONS: [&str; 10] =
    ["devices", "rate", "seed", "rows", "duration", "speed", "start", "disorder", "spike_rate", "dropout_rate"];

/// How fast event time runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// As fast as rows can be made durable.
    Max,
    /// Seconds of event time a second.
    Factor(f64),
}

/// The options, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SimulatorConfig {
    pub(super) devices: u64,
    /// Rows of all devices in a second of event time.
    pub(super) rate: f64,
    pub(super) seed: u64,
    /// `None`: without end.
    pub(super) rows: Option<u64>,
    pub(super) pace: Pace,
    /// Event time of the first row; `None`: the clock's time at the first start.
    pub(super) start_us: Option<i64>,
    /// How much later than its event time a row may come, at most.
    pub(super) disorder: Duration,
    /// Share of a device's minutes that have a spike.
    pub(super) spike_rate: f64,
    /// Share of a device's minutes in which it is silent.
    pub(super) dropout_rate: f64,
}

impl SimulatorConfig {
    pub(super) fn read(options: &BTreeMap<String, String>) -> Result<Self, Vec<OptionProblem>> {
        let mut reader = OptionReader::new(options, &OPTIONS);
        let positive = |text: &str| text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
        let share = |text: &str| text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        let whole = |text: &str| text.replace('_', "").parse::<u64>().ok();
        let pace = |text: &str| match text.to_ascii_lowercase().as_str() {
            "max" => Some(Pace::Max),
            text => positive(text.strip_suffix('x').unwrap_or(text)).map(Pace::Factor),
        };
        let pace = reader.read("speed", "'max' or a factor above 0", pace).unwrap_or(Pace::Factor(1.0));
        let rate = reader.read("rate", "rows a second, above 0", positive).unwrap_or(100.0);
        let rows = reader.read("rows", "a number of rows", whole);
        let duration = reader.read("duration", "a duration as '10 minutes'", parse_duration);
        let in_duration = duration.map(|duration| (duration.as_secs_f64() * rate).ceil() as u64);
        let start_us = reader.read("start", "a time as '2026-01-01T00:00:00Z'", parse_timestamp_us);
        let default_start_us = (pace != Pace::Factor(1.0)).then_some(DEFAULT_START_US);
        let config = Self {
            devices: reader
                .read("devices", "a number of devices from 1", |text| whole(text).filter(|n| *n > 0))
                .unwrap_or(10),
            rate,
            seed: reader.read("seed", "a whole number", whole).unwrap_or(42),
            rows: [rows, in_duration].into_iter().flatten().min(),
            pace,
            start_us: start_us.or(default_start_us),
            disorder: reader
                .read("disorder", "a duration as '1 second'", parse_duration)
                .unwrap_or(Duration::from_secs(1)),
            spike_rate: reader.read("spike_rate", "a share from 0 to 1", share).unwrap_or(0.05),
            dropout_rate: reader.read("dropout_rate", "a share from 0 to 1", share).unwrap_or(0.01),
        };
        reader.finish(config)
    }
}
