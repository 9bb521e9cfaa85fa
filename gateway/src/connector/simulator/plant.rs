//! The devices: which of them a row is from, when it was taken, whether the device spikes.

use super::config::SimulatorConfig;
use super::noise::Noise;

// Kinds of noise, far enough apart for octaves and columns.
const DEVICE: u64 = 1;
const DISORDER: u64 = 2;
const SPIKE: u64 = 3;
const SPIKE_SHAPE: u64 = 4;
const DROPOUT: u64 = 5;
const STATUS: u64 = 6;
/// Columns take 16 kinds each from here.
pub(super) const COLUMNS: u64 = 1_000;

const MINUTE_US: i64 = 60_000_000;
/// How many devices are tried for a row before a silent one speaks after all.
const TRIES: u64 = 16;

/// A plant.
#[derive(Debug)]
pub(super) struct Plant {
    pub(super) noise: Noise,
    devices: u64,
    start_us: i64,
    us_per_row: f64,
    disorder_us: f64,
    spike_rate: f64,
    dropout_rate: f64,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    pub(super) row: u64,
    /// From 0.
    pub(super) device: u64,
    pub(super) event_us: i64,
    /// From 0 (none) to 1 (at its height).
    pub(super) spike: f64,
}

impl Plant {
    pub(super) fn new(config: &SimulatorConfig, start_us: i64) -> Self {
        Self {
            noise: Noise::new(config.seed),
            devices: config.devices,
            start_us,
            us_per_row: 1e6 / config.rate,
            disorder_us: config.disorder.as_secs_f64() * 1e6,
            spike_rate: config.spike_rate,
            dropout_rate: config.dropout_rate,
        }
    }

    pub(super) fn reading(&self, row: u64) -> Reading {
        let arrival_us = self.start_us + (row as f64 * self.us_per_row) as i64;
        let device = self.device(row, arrival_us);
        // A row comes up to `disorder` after it was taken; whole milliseconds, as sensors have them.
        let delay_us = (self.noise.uniform(DISORDER, row, 0) * self.disorder_us) as i64;
        let event_us = (arrival_us - delay_us).div_euclid(1_000) * 1_000;
        Reading { row, device, event_us, spike: self.spike(device, event_us) }
    }

    /// Devices take turns; for one that is silent another speaks, so that the rate stays.
    fn device(&self, row: u64, at_us: i64) -> u64 {
        let turn = row % self.devices;
        let candidate = |n| if n == 0 { turn } else { self.noise.bits(DEVICE, row, n) % self.devices };
        (0..TRIES).map(candidate).find(|device| !self.is_silent(*device, at_us)).unwrap_or(turn)
    }

    fn is_silent(&self, device: u64, at_us: i64) -> bool {
        self.noise.uniform(DROPOUT, device, minute(at_us)) < self.dropout_rate
    }

    /// At most one spike a minute, 5 to 20 seconds long, rising and falling over its first and last second.
    fn spike(&self, device: u64, at_us: i64) -> f64 {
        let minute = minute(at_us);
        if self.noise.uniform(SPIKE, device, minute) >= self.spike_rate {
            return 0.0;
        }
        let length_s = 5.0 + 15.0 * self.noise.uniform(SPIKE_SHAPE, device, minute);
        let begin_s = (60.0 - length_s) * self.noise.uniform(SPIKE_SHAPE + 100, device, minute);
        let since_s = at_us.rem_euclid(MINUTE_US) as f64 / 1e6 - begin_s;
        since_s.min(length_s - since_s).clamp(0.0, 1.0)
    }

    /// One of ok, idle, warn, error, maint; warnings and errors mostly in spikes.
    pub(super) fn status(&self, reading: &Reading) -> &'static str {
        let draw = self.noise.uniform(STATUS, reading.row, 0);
        let shares = if reading.spike > 0.5 { [0.1, 0.1, 0.6, 0.98] } else { [0.85, 0.96, 0.985, 0.99] };
        let place = shares.iter().position(|share| draw < *share).unwrap_or(4);
        ["ok", "idle", "warn", "error", "maint"][place]
    }
}

fn minute(at_us: i64) -> u64 {
    at_us.div_euclid(MINUTE_US) as u64
}
