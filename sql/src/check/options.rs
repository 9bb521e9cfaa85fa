//! Reading the options of one statement.

use std::time::Duration;

use crate::ast::{OptionDef, Statement};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::pipeline::{OptionEntry, OptionValue, Options};
use crate::suggest;
use crate::units;

/// Options, taken one by one; what is left at the end is unknown or passed on.
pub(super) struct OptionReader<'a> {
    statement: &'a Statement,
    left: Vec<&'a OptionDef>,
    known: Vec<&'static str>,
    found: &'a mut Vec<Diagnostic>,
}

impl<'a> OptionReader<'a> {
    pub(super) fn new(statement: &'a Statement, options: &'a [OptionDef], found: &'a mut Vec<Diagnostic>) -> Self {
        let mut left: Vec<&OptionDef> = Vec::new();
        for option in options {
            if !left.iter().any(|other| other.key == option.key) {
                left.push(option);
            }
        }
        Self { statement, left, known: Vec::new(), found }
    }

    /// The option's definition, and it is known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a OptionDef> {
        self.known.push(key);
        let n = self.left.iter().position(|option| option.key == key)?;
        Some(self.left.remove(n))
    }

    /// The option's literal value; a secret is an error.
    pub(super) fn text(&mut self, key: &'static str) -> Option<(&'a str, &'a OptionDef)> {
        let option = self.take(key)?;
        match &option.value {
            OptionValue::Literal(text) => Some((text, option)),
            OptionValue::Secret(_) => {
                self.wrong(option, "cannot be a secret", None);
                None
            }
        }
    }

    /// A positive length of time.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let (text, option) = self.text(key)?;
        self.length(text, option)
    }

    /// The value of an option as a positive length of time.
    pub(super) fn length(&mut self, text: &str, option: &OptionDef) -> Option<Duration> {
        let duration = units::duration(text);
        if duration.is_none() {
            self.wrong(
                option,
                &format!("\"{text}\" is no length of time"),
                Some("write it like '7 days' or '90 seconds'"),
            );
        }
        duration
    }

    /// Something was wrong with the value.
    pub(super) fn wrong(&mut self, option: &OptionDef, why: &str, hint: Option<&str>) {
        let message = format!("the option \"{}\": {why}", option.key);
        let span = self.statement.span(option.value_at);
        self.found.push(Diagnostic::error(codes::OPTION_VALUE, span, message).hint_opt(hint.map(str::to_owned)));
    }

    /// Reports what is left, except what `passed_on` accepts; gives that back.
    pub(super) fn finish(self, passed_on: impl Fn(&str) -> bool) -> Options {
        let mut options = Options::new();
        for option in self.left {
            if passed_on(&option.key) {
                let span = self.statement.span(option.value_at);
                options.insert(option.key.clone(), OptionEntry { value: option.value.clone(), span });
            } else {
                let message = format!("no option \"{}\"", option.key);
                let hint = suggest::hint(&option.key, self.known.iter().copied());
                let span = self.statement.span(option.key_at);
                self.found.push(Diagnostic::error(codes::NO_OPTION, span, message).hint_opt(hint));
            }
        }
        options
    }
}
