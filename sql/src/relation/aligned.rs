//! The lengths of `TUMBLE`, `HOP` and `CUMULATE`, aligned to UTC or to a time zone's calendar.

use sqlparser::ast::{Expr, Value};

use super::{Arguments, WindowCall, WindowError, place, usage};
use crate::codes;
use crate::shape::{CalendarExtent, CalendarLength, CalendarWindow, TimeZone, Window};
use crate::units::{DAY_US, IntervalError, calendar_interval, interval_us};

type Result<T> = std::result::Result<T, WindowError>;

/// The windows that a call of one of the three describes.
pub(super) fn window(call: &WindowCall<'_>, arguments: &Arguments) -> Result<Window> {
    if let Some(zone) = &arguments.time_zone {
        return calendar_window(call, arguments, time_zone(call, zone)?).map(Window::Calendar);
    }
    let offset_us = offset_us(call, arguments)?;
    let size = given(call, "size", arguments.size.as_ref());
    Ok(match call.function.as_str() {
        "HOP" => {
            let slide_us = length_us(call, "slide", given(call, "slide", arguments.slide.as_ref())?)?;
            Window::Hop { slide_us, size_us: length_us(call, "size", size?)?, offset_us }
        }
        "CUMULATE" => {
            let step = given(call, "step", arguments.step.as_ref())?;
            let (step_us, size_us) = (length_us(call, "step", step)?, length_us(call, "size", size?)?);
            if size_us % step_us != 0 {
                return Err(not_whole(call, "step", step));
            }
            Window::Cumulate { step_us, size_us, offset_us }
        }
        _ => Window::Tumble { size_us: length_us(call, "size", size?)?, offset_us },
    })
}

pub(super) fn given<'a>(call: &WindowCall<'_>, name: &str, expr: Option<&'a Expr>) -> Result<&'a Expr> {
    expr.ok_or_else(|| usage(call, format!("{} needs its {name}", call.function)))
}

pub(super) fn length_us(call: &WindowCall<'_>, name: &str, expr: &Expr) -> Result<i64> {
    let us = interval(call, name, expr, interval_us(expr))?;
    if us > 0 { Ok(us) } else { Err(without_length(call, name, expr)) }
}

fn offset_us(call: &WindowCall<'_>, arguments: &Arguments) -> Result<i64> {
    arguments.offset.as_ref().map_or(Ok(0), |expr| interval(call, "offset", expr, interval_us(expr)))
}

fn interval<T>(
    call: &WindowCall<'_>,
    name: &str,
    expr: &Expr,
    length: std::result::Result<T, IntervalError>,
) -> Result<T> {
    length.map_err(|error| {
        let message = format!("the {name} of {} is not a fixed interval", call.function);
        let hint = match error {
            IntervalError::Calendar if name != "offset" && name != "gap" => {
                "months and years differ in length: add a TIME ZONE, such as TIME ZONE 'UTC', for those of its calendar"
            }
            other => other.hint(),
        };
        WindowError::new(codes::WINDOW_SIZE, place(call, expr), message).hint(hint)
    })
}

fn without_length(call: &WindowCall<'_>, name: &str, expr: &Expr) -> WindowError {
    let message = format!("the {name} of {} must be longer than nothing", call.function);
    WindowError::new(codes::WINDOW_SIZE, place(call, expr), message)
}

fn not_whole(call: &WindowCall<'_>, name: &str, expr: &Expr) -> WindowError {
    let message = format!("the size of {} is not a whole number of its {name}s", call.function);
    let hint = format!("make the size a multiple of the {name}");
    WindowError::new(codes::WINDOW_SIZE, place(call, expr), message).hint(hint)
}

fn time_zone(call: &WindowCall<'_>, expr: &Expr) -> Result<TimeZone> {
    let name = match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(name) => Some(name),
            _ => None,
        },
        _ => None,
    };
    let at = place(call, expr);
    let Some(name) = name else {
        let message = "a time zone is the name of one, as text".to_owned();
        return Err(WindowError::new(codes::TIME_ZONE, at, message).hint("write TIME ZONE 'Europe/Berlin'"));
    };
    TimeZone::named(name).ok_or_else(|| {
        let error = WindowError::new(codes::TIME_ZONE, at, format!("there is no time zone '{name}'"));
        match TimeZone::suggestion(name) {
            Some(close) => error.hint(format!("did you mean '{close}'?")),
            None => error.hint("a zone has the name that the IANA database gives it, such as 'Europe/Berlin' or 'UTC'"),
        }
    })
}

fn calendar_window(call: &WindowCall<'_>, arguments: &Arguments, zone: TimeZone) -> Result<CalendarWindow> {
    let offset_us = offset_us(call, arguments)?;
    let size_expr = given(call, "size", arguments.size.as_ref())?;
    let size = calendar_length(call, "size", size_expr);
    let (step, extent) = match call.function.as_str() {
        "HOP" => {
            let expr = given(call, "slide", arguments.slide.as_ref())?;
            let slide = calendar_length(call, "slide", expr)?;
            let steps = steps(calendar_parts(call, "size", size_expr)?, slide);
            (slide, CalendarExtent::Steps(steps.ok_or_else(|| not_whole(call, "slide", expr))?))
        }
        "CUMULATE" => {
            let expr = given(call, "step", arguments.step.as_ref())?;
            let (step, size) = (calendar_length(call, "step", expr)?, size?);
            if !divides(step, size) {
                return Err(not_whole(call, "step", expr));
            }
            (step, CalendarExtent::Cumulated(size))
        }
        _ => (size?, CalendarExtent::Steps(1)),
    };
    Ok(CalendarWindow { zone, step, extent, offset_us })
}

fn calendar_parts(call: &WindowCall<'_>, name: &str, expr: &Expr) -> Result<(i32, i64)> {
    let parts = interval(call, name, expr, calendar_interval(expr))?;
    if parts.0 < 0 || parts.1 < 0 || parts == (0, 0) { Err(without_length(call, name, expr)) } else { Ok(parts) }
}

fn calendar_length(call: &WindowCall<'_>, name: &str, expr: &Expr) -> Result<CalendarLength> {
    let (months, us) = calendar_parts(call, name, expr)?;
    let days = u32::try_from(us / DAY_US).ok();
    match (u32::try_from(months).unwrap_or_default(), us, days) {
        (months, 0, _) => Ok(CalendarLength::Months(months)),
        (0, us, Some(days)) if us % DAY_US == 0 => Ok(CalendarLength::Days(days)),
        (0, us, _) if us < DAY_US && DAY_US % us == 0 => Ok(CalendarLength::PartOfDay(us)),
        _ => {
            let message = format!("the {name} of {} does not divide a calendar", call.function);
            let hint = "with TIME ZONE a length is a whole number of months or of days, or a part that divides a day";
            Err(WindowError::new(codes::WINDOW_SIZE, place(call, expr), message).hint(hint))
        }
    }
}

/// How many steps a size of months and microseconds is, where it is a whole number of them.
fn steps((months, us): (i32, i64), step: CalendarLength) -> Option<u32> {
    let (size, step) = match step {
        CalendarLength::PartOfDay(step_us) if months == 0 => (us, step_us),
        CalendarLength::Days(days) if months == 0 => (us, i64::from(days) * DAY_US),
        CalendarLength::Months(step) if us == 0 => (i64::from(months), i64::from(step)),
        _ => return None,
    };
    if size % step == 0 { u32::try_from(size / step).ok() } else { None }
}

/// Whether every border of `size` is one of `step`.
fn divides(step: CalendarLength, size: CalendarLength) -> bool {
    match (step, size) {
        (CalendarLength::PartOfDay(step_us), CalendarLength::PartOfDay(size_us)) => size_us % step_us == 0,
        (CalendarLength::PartOfDay(_), _)
        | (CalendarLength::Days(1), CalendarLength::Days(_) | CalendarLength::Months(_)) => true,
        // Weeks count from a Monday, other numbers of days from 1 January 1970.
        (CalendarLength::Days(step), CalendarLength::Days(size)) => {
            size % step == 0 && (size % 7 == 0) == (step % 7 == 0)
        }
        (CalendarLength::Months(step), CalendarLength::Months(size)) => size % step == 0,
        _ => false,
    }
}
