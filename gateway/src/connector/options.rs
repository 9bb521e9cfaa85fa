//! Options of connectors: text by name, read with errors that say what would be right.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::registry::closest;

/// What is wrong with a connector's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// The option, when it is about one.
    pub option: Option<String>,
    /// What was expected and found.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for OptionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(option) = &self.option {
            write!(f, "option {option:?}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Reads options one by one and gathers what is wrong with them.
pub(crate) struct OptionReader<'a> {
    options: &'a BTreeMap<String, String>,
    problems: Vec<OptionProblem>,
}

impl<'a> OptionReader<'a> {
    /// Options of a connector that knows `known`; all others are problems.
    pub(crate) fn new(options: &'a BTreeMap<String, String>, known: &[&str]) -> Self {
        let mut reader = Self { options, problems: Vec::new() };
        for name in options.keys().filter(|name| *name != "connector" && !known.contains(&name.as_str())) {
            let hint = match closest(name, known.iter().map(|&known| known.to_owned())).into_iter().next() {
                Some(close) => format!("did you mean {close}"),
                None => format!("options are {}", known.join(", ")),
            };
            reader.problem(Some(name), "no such option", Some(&hint));
        }
        reader
    }

    /// The text of an option.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.options.get(name).map(String::as_str)
    }

    /// An option as `parse` reads it; a problem that says `expected` when it cannot.
    pub(crate) fn read<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?.trim();
        let parsed = parse(text);
        if parsed.is_none() {
            self.problem(Some(name), &format!("expected {expected}, found {text:?}"), None);
        }
        parsed
    }

    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        self.read(name, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => Some(true),
            "false" | "off" | "no" => Some(false),
            _ => None,
        })
    }

    pub(crate) fn problem(&mut self, option: Option<&str>, message: &str, hint: Option<&str>) {
        let (option, hint) = (option.map(str::to_owned), hint.map(str::to_owned));
        self.problems.push(OptionProblem { option, message: message.to_owned(), hint });
    }

    /// `value` when nothing is wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Vec<OptionProblem>> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.problems) }
    }
}

/// A duration as `1 second`, `500 ms`, `1 hour 30 minutes` or `90s`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let unit_s = match after[..end].to_ascii_lowercase().as_str() {
            "us" | "microsecond" | "microseconds" => 1e-6,
            "ms" | "millisecond" | "milliseconds" => 1e-3,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3_600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit_s;
        rest = after[end..].trim_start();
    }
    (!text.trim().is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("1 second", 1000),
            ("500 ms", 500),
            ("1.5s", 1500),
            ("1 hour 30 minutes", 5_400_000),
            (" 2 days ", 172_800_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "1", "second", "1 fortnight", "-1 second", "1 second 2", "1..2 s", "é", "1e400 s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn all_problems_at_once() {
        let options = BTreeMap::from(
            [("folow", "true"), ("format", "xml"), ("zzz", "1"), ("connector", "file")]
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let mut reader = OptionReader::new(&options, &["follow", "format"]);
        assert_eq!(reader.read("format", "csv or json", |text| (text == "csv").then_some(())), None);
        let problems: Vec<_> = reader.finish(()).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "option \"folow\": no such option (did you mean follow)",
                "option \"zzz\": no such option (options are follow, format)",
                "option \"format\": expected csv or json, found \"xml\"",
            ]
        );
    }
}
