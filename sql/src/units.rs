//! Durations and sizes as they are written in options and intervals: `'7 days'`, `'1 minute'`, `'10GB'`.

use std::time::Duration;

use arrow::array::types::IntervalMonthDayNano;
use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use sqlparser::ast::{DateTimeField, Expr, Interval, UnaryOperator, Value};

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Why an interval is not a fixed length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntervalError {
    /// Not an interval at all, or one that cannot be read.
    Unreadable,
    /// Months and years have no fixed length.
    Calendar,
    /// Finer than a microsecond, or longer than 292,000 years.
    Range,
}

impl IntervalError {
    /// What to write instead.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Unreadable => "write it like INTERVAL '10 seconds'",
            Self::Calendar => "months and years differ in length: write it in days, hours, minutes or seconds",
            Self::Range => "times are kept in microseconds, in 64 bits",
        }
    }
}

/// The length of `INTERVAL '…'` in microseconds.
pub(crate) fn interval_us(expr: &Expr) -> Result<i64, IntervalError> {
    fixed(calendar_interval(expr)?)
}

/// `INTERVAL '…'` as whole months and microseconds.
pub(crate) fn calendar_interval(expr: &Expr) -> Result<(i32, i64), IntervalError> {
    match expr {
        Expr::Interval(interval) => interval_literal(interval),
        Expr::Nested(inner) => calendar_interval(inner),
        _ => Err(IntervalError::Unreadable),
    }
}

fn fixed((months, us): (i32, i64)) -> Result<i64, IntervalError> {
    if months == 0 { Ok(us) } else { Err(IntervalError::Calendar) }
}

fn interval_literal(interval: &Interval) -> Result<(i32, i64), IntervalError> {
    let Interval {
        value,
        leading_field,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    } = interval
    else {
        return Err(IntervalError::Unreadable);
    };
    let text = match (literal(value), leading_field) {
        (Some(text), None) => text,
        (Some(text), Some(field)) => format!("{text} {}", unit(field)?),
        (None, _) => return Err(IntervalError::Unreadable),
    };
    months_and_us(&text)
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => literal(expr).map(|text| format!("-{text}")),
        _ => None,
    }
}

fn unit(field: &DateTimeField) -> Result<&'static str, IntervalError> {
    Ok(match field {
        DateTimeField::Week(None) | DateTimeField::Weeks => "weeks",
        DateTimeField::Day | DateTimeField::Days => "days",
        DateTimeField::Hour | DateTimeField::Hours => "hours",
        DateTimeField::Minute | DateTimeField::Minutes => "minutes",
        DateTimeField::Second | DateTimeField::Seconds => "seconds",
        DateTimeField::Millisecond | DateTimeField::Milliseconds => "milliseconds",
        DateTimeField::Microsecond | DateTimeField::Microseconds => "microseconds",
        DateTimeField::Year | DateTimeField::Years => "years",
        DateTimeField::Month | DateTimeField::Months => "months",
        _ => return Err(IntervalError::Unreadable),
    })
}

/// The length of text like `10 seconds` or `1 day 12 hours`, in microseconds.
pub(crate) fn duration_us(text: &str) -> Result<i64, IntervalError> {
    fixed(months_and_us(text)?)
}

fn months_and_us(text: &str) -> Result<(i32, i64), IntervalError> {
    // The parser of arrow takes a bare number as seconds; a length without its unit is a mistake here.
    if !text.contains(|c: char| c.is_ascii_alphabetic() || c == ':') {
        return Err(IntervalError::Unreadable);
    }
    let IntervalMonthDayNano { months, days, nanoseconds } =
        parse_interval_month_day_nano(text).map_err(|_| IntervalError::Unreadable)?;
    if nanoseconds % 1_000 != 0 {
        return Err(IntervalError::Range);
    }
    let us = i64::from(days).checked_mul(DAY_US).and_then(|us| us.checked_add(nanoseconds / 1_000));
    us.map(|us| (months, us)).ok_or(IntervalError::Range)
}

/// The positive length of text like `7 days`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let us = u64::try_from(duration_us(text).ok()?).ok()?;
    (us > 0).then(|| Duration::from_micros(us))
}

/// The bytes of text like `10GB`, `512 MiB` or `4096`. `KB` is 1,000 bytes, `KiB` 1,024.
#[must_use]
pub fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).filter(|bytes| *bytes > 0);
    }
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration_us("10 seconds"), Ok(10_000_000));
        assert_eq!(duration_us("1 minute"), Ok(60_000_000));
        assert_eq!(duration_us("7 days"), Ok(7 * DAY_US));
        assert_eq!(duration_us("250 milliseconds"), Ok(250_000));
        assert_eq!(duration_us("1 day 12 hours"), Ok(DAY_US + DAY_US / 2));
        assert_eq!(duration_us("0.5 seconds"), Ok(500_000));
        assert_eq!(duration_us("1 month"), Err(IntervalError::Calendar));
        assert_eq!(duration_us("10"), Err(IntervalError::Unreadable));
        assert_eq!(duration_us("10 parsecs"), Err(IntervalError::Unreadable));
        assert_eq!(duration_us("1 nanosecond"), Err(IntervalError::Range));
        assert_eq!(duration("0 seconds"), None);
        assert_eq!(duration("-1 seconds"), None);
        assert_eq!(duration("90 seconds"), Some(Duration::from_secs(90)));
    }

    #[test]
    fn sizes() {
        assert_eq!(size_bytes("10GB"), Some(10_000_000_000));
        assert_eq!(size_bytes("512 MiB"), Some(512 << 20));
        assert_eq!(size_bytes("1.5kb"), Some(1_500));
        assert_eq!(size_bytes("4096"), Some(4096));
        for wrong in ["", "GB", "10 bananas", "-1GB", "0", "99999999999999999999", "1.2.3"] {
            assert_eq!(size_bytes(wrong), None, "{wrong}");
        }
    }
}
