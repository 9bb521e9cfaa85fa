//! From written options to typed values, reporting every mistake at once.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::Schema;
use url::Url;

use super::duration::parse_duration;
use super::spec::{OptionKind, OptionSpec};
use crate::error::Error;
use crate::settings::{Secret, SinkOption};

/// A mistake in the options of a sink, for the person who wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// The option, where the mistake is of one.
    pub option: Option<String>,
    /// What was expected and what was found.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

/// A mistake with its parts, before it is made a problem or an error.
#[derive(Debug, Clone)]
pub(crate) struct Mismatch {
    pub option: Option<String>,
    pub expected: String,
    pub found: String,
    pub hint: Option<String>,
}

impl Mismatch {
    pub(crate) fn of(option: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { option: Some(option.to_owned()), expected: expected.into(), found: found.into(), hint: None }
    }

    pub(crate) fn of_rows(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { option: None, expected: expected.into(), found: found.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Mismatch> for OptionProblem {
    fn from(mismatch: Mismatch) -> Self {
        let message = format!("expected {}, found {}", mismatch.expected, mismatch.found);
        Self { option: mismatch.option, message, hint: mismatch.hint }
    }
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        let Mismatch { option, expected, found, .. } = mismatch;
        match option {
            Some(option) => Self::Option { option, expected, found },
            None => Self::Schema { expected, found },
        }
    }
}

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Secret(Secret),
    Url(Url),
    Boolean(bool),
    Duration(Duration),
    Count(u64),
    Columns(Vec<String>),
}

/// Typed values of a connector's options, defaults filled in.
#[derive(Debug, Clone, Default)]
pub struct OptionValues {
    values: BTreeMap<&'static str, Value>,
    given: Vec<&'static str>,
}

impl OptionValues {
    /// Reads options against their declarations and the columns of the rows. What could be read is returned beside
    /// the mistakes, so that a connector's own checks can go on.
    pub(crate) fn parse(
        specs: &'static [OptionSpec],
        options: &BTreeMap<String, SinkOption>,
        schema: &Schema,
    ) -> (Self, Vec<Mismatch>) {
        let mut parsed = Self::default();
        let mut mistakes = Vec::new();
        for name in options.keys() {
            if !specs.iter().any(|spec| spec.name == name) {
                mistakes.push(unknown(name, specs));
            }
        }
        for spec in specs {
            match options.get(spec.name) {
                Some(option) => {
                    parsed.given.push(spec.name);
                    match parse_option(spec, option, schema) {
                        Ok(Some(value)) => drop(parsed.values.insert(spec.name, value)),
                        Ok(None) => {}
                        Err(mismatch) => mistakes.push(mismatch),
                    }
                }
                None if spec.required => {
                    mistakes.push(Mismatch::of(spec.name, spec.kind.expected(), "nothing").hint(spec.doc));
                }
                None => {
                    if let Some(default) = spec.default {
                        match parse_text(spec, default, schema) {
                            Ok(value) => drop(parsed.values.insert(spec.name, value)),
                            Err(mismatch) => mistakes.push(mismatch),
                        }
                    }
                }
            }
        }
        (parsed, mistakes)
    }

    /// Whether the option was written, even with a value that could not be read.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains(&name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Value::Text(text) => Some(text),
            Value::Secret(secret) => Some(secret.expose()),
            _ => None,
        }
    }

    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    pub(crate) fn url(&self, name: &str) -> Option<Url> {
        if let Value::Url(url) = self.values.get(name)? { Some(url.clone()) } else { None }
    }

    pub(crate) fn boolean(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Boolean(true)))
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        if let Some(Value::Duration(duration)) = self.values.get(name) { *duration } else { Duration::ZERO }
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        if let Some(Value::Count(count)) = self.values.get(name) { *count } else { 0 }
    }

    pub(crate) fn columns(&self, name: &str) -> Option<&[String]> {
        if let Some(Value::Columns(columns)) = self.values.get(name) { Some(columns) } else { None }
    }
}

fn parse_option(spec: &OptionSpec, option: &SinkOption, schema: &Schema) -> Result<Option<Value>, Mismatch> {
    match option {
        SinkOption::Text(text) => parse_text(spec, text, schema).map(Some),
        SinkOption::Secret(secret) if secret.expose().is_empty() => {
            Err(Mismatch::of(spec.name, "a secret that is not empty", "an empty one"))
        }
        SinkOption::Secret(secret) => match spec.kind {
            OptionKind::Text | OptionKind::Secret => Ok(Some(Value::Secret(secret.clone()))),
            _ => parse_text(spec, secret.expose(), schema)
                .map(Some)
                .map_err(|_| Mismatch::of(spec.name, spec.kind.expected(), "a secret that is none")),
        },
        SinkOption::UnresolvedSecret => Ok(None),
    }
}

fn parse_text(spec: &OptionSpec, text: &str, schema: &Schema) -> Result<Value, Mismatch> {
    let misfit = || {
        let found = match spec.kind {
            OptionKind::Secret => "empty text".to_owned(),
            _ => format!("'{}'", shortened(text)),
        };
        Mismatch::of(spec.name, spec.kind.expected(), found)
    };
    match spec.kind {
        OptionKind::Text | OptionKind::Secret | OptionKind::Location if text.trim().is_empty() => Err(misfit()),
        OptionKind::Text => Ok(Value::Text(text.to_owned())),
        OptionKind::Secret => Ok(Value::Secret(Secret::new(text))),
        OptionKind::Location => match text.split_once("://") {
            Some((scheme, _)) if scheme != "file" => {
                Err(misfit().hint(format!("this build has no store for {scheme}://")))
            }
            _ => Ok(Value::Text(text.to_owned())),
        },
        OptionKind::Url => {
            let url = Url::parse(text).map_err(|error| misfit().hint(error.to_string()))?;
            let fits = matches!(url.scheme(), "http" | "https") && url.host().is_some();
            if fits { Ok(Value::Url(url)) } else { Err(misfit()) }
        }
        OptionKind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(misfit()),
        },
        OptionKind::Duration => parse_duration(text).map(Value::Duration).ok_or_else(misfit),
        OptionKind::Count { min, max } => match text.parse::<u64>() {
            Ok(count) if (min..=max).contains(&count) => Ok(Value::Count(count)),
            _ => Err(misfit()),
        },
        OptionKind::Choice(words) => {
            if words.contains(&text) {
                Ok(Value::Text(text.to_owned()))
            } else {
                Err(closest(text, words.iter().copied()).map_or_else(misfit, |word| misfit().hint(did_you_mean(word))))
            }
        }
        OptionKind::Column => column(spec, text, schema).map(Value::Text),
        OptionKind::PartitionColumn if text == "date" => Ok(Value::Text(text.to_owned())),
        OptionKind::PartitionColumn => column(spec, text, schema).map(Value::Text),
        OptionKind::Columns => {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(|name| column(spec, name, schema)).collect::<Result<_, _>>().map(Value::Columns)
        }
    }
}

fn column(spec: &OptionSpec, name: &str, schema: &Schema) -> Result<String, Mismatch> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    if names().any(|have| have == name) {
        return Ok(name.to_owned());
    }
    let mismatch = Mismatch::of(spec.name, spec.kind.expected(), format!("'{}'", shortened(name)));
    let hint = closest(name, names())
        .map_or_else(|| format!("the rows have {}", names().collect::<Vec<_>>().join(", ")), did_you_mean);
    Err(mismatch.hint(hint))
}

fn unknown(name: &str, specs: &[OptionSpec]) -> Mismatch {
    let names = || specs.iter().map(|spec| spec.name);
    let expected = if specs.is_empty() {
        "no options".to_owned()
    } else {
        format!("one of {}", names().collect::<Vec<_>>().join(", "))
    };
    let mismatch = Mismatch::of(name, expected, format!("'{}'", shortened(name)));
    match closest(name, names()) {
        Some(close) => mismatch.hint(did_you_mean(close)),
        None => mismatch,
    }
}

pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean '{name}'?")
}

/// The candidate that a typing mistake away from `name`, if there is one.
pub(crate) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn shortened(text: &str) -> String {
    const LIMIT: usize = 60;
    if text.chars().count() <= LIMIT { text.to_owned() } else { text.chars().take(LIMIT).chain(['…']).collect() }
}
