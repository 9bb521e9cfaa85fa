//! Options of the `pagerduty` connector.

use arrow::datatypes::Schema;

use crate::options::{Mismatch, OptionKind, OptionSpec, OptionValues};

const ROUTING_KEY_CHARS: usize = 32;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required("routing_key", OptionKind::Secret, "integration key of the service, 32 characters"),
    OptionSpec::defaulted(
        "url",
        OptionKind::Url,
        "https://events.pagerduty.com",
        "base address; `https://events.eu.pagerduty.com` for the EU",
    ),
    OptionSpec::optional(
        "source",
        OptionKind::Text,
        "the affected system; the values of the alert's key where it is not given",
    ),
    OptionSpec::optional("component", OptionKind::Text, "the part of the system that is responsible"),
    OptionSpec::optional("group", OptionKind::Text, "a logical grouping of components"),
    OptionSpec::optional("class", OptionKind::Text, "the kind of event; the alert's name where it is not given"),
    OptionSpec::defaulted("client", OptionKind::Text, "thermocline", "name of the monitoring client"),
    OptionSpec::optional("client_url", OptionKind::Url, "address of the monitoring client"),
    OptionSpec::defaulted("timeout", OptionKind::Duration, "15 seconds", "how long an answer may take"),
];

pub(super) fn check(options: &OptionValues, _: &Schema) -> Vec<Mismatch> {
    let mut mistakes = Vec::new();
    if let Some(key) = options.text("routing_key")
        && (key.len() != ROUTING_KEY_CHARS || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        let expected = format!("an integration key of {ROUTING_KEY_CHARS} letters and digits");
        mistakes.push(Mismatch::of("routing_key", expected, format!("one of {} characters", key.chars().count())));
    }
    if options.is_given("timeout") && options.duration("timeout").is_zero() {
        mistakes.push(Mismatch::of("timeout", "a duration above zero", "zero"));
    }
    mistakes
}
