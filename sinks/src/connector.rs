//! Every connector: its options, what it promises, how it is checked and opened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::{Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::options::{Mismatch, OptionProblem, OptionSpec, OptionValues, closest, did_you_mean};
use crate::settings::{SinkOption, SinkSettings};
use crate::sink::Sink;
use crate::{blackhole, console, delta, influxdb, pagerduty, parquet, webhook};

/// What the destination holds after a delivery was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Every row once: the position is stored with the rows.
    ExactlyOnce,
    /// The same again: a repeated row takes the place of the first.
    Idempotent,
    /// Perhaps a duplicate, with the same identity.
    AtLeastOnce,
}

/// What rows a connector takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// Any rows, alert events among them.
    Rows,
    /// Alert events only.
    Alerts,
}

/// What a sink is opened with.
#[derive(Debug)]
pub(crate) struct OpenContext {
    pub name: String,
    pub deployment: String,
    pub base_dir: PathBuf,
    pub options: OptionValues,
    pub schema: SchemaRef,
}

/// A kind of destination.
#[derive(Debug)]
pub struct Connector {
    /// Name as written in `connector = '…'`.
    pub name: &'static str,
    /// One line of documentation.
    pub summary: &'static str,
    /// What a repeated delivery does.
    pub guarantee: Guarantee,
    /// What it takes.
    pub accepts: Accepts,
    /// Whether a later row of the same window and key takes the place of the earlier one, so that results may be emitted
    /// early and corrected.
    pub takes_updates: bool,
    /// Its options.
    pub options: &'static [OptionSpec],
    /// Checks that span options or columns.
    pub(crate) check: fn(&OptionValues, &Schema) -> Vec<Mismatch>,
    pub(crate) open: fn(OpenContext) -> Result<Box<dyn Sink>>,
}

static CONNECTORS: [&Connector; 7] = [
    &console::CONNECTOR,
    &blackhole::CONNECTOR,
    &webhook::CONNECTOR,
    &pagerduty::CONNECTOR,
    &influxdb::CONNECTOR,
    &parquet::CONNECTOR,
    &delta::CONNECTOR,
];

/// All connectors.
#[must_use]
pub fn connectors() -> &'static [&'static Connector] {
    &CONNECTORS
}

/// Everything that is wrong with a sink before it is opened; needs no network.
///
/// `is_alert` says that the rows are alert events, `input_schema` what columns they have.
#[must_use]
pub fn check(
    connector: &str,
    options: &BTreeMap<String, SinkOption>,
    input_schema: &Schema,
    is_alert: bool,
) -> Vec<OptionProblem> {
    match find(connector) {
        Ok(connector) => {
            mistakes(connector, options, input_schema, is_alert).1.into_iter().map(OptionProblem::from).collect()
        }
        Err(mismatch) => vec![mismatch.into()],
    }
}

/// Opens a sink. Nothing is connected to yet: a destination that is down shows at the first write.
///
/// # Errors
/// [`Error::Option`] or [`Error::Schema`] for the first mistake that [`check`] reports.
pub fn open(settings: SinkSettings, input_schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let connector = find(&settings.connector)?;
    if let Some((name, _)) = settings.options.iter().find(|(_, value)| **value == SinkOption::UnresolvedSecret) {
        return Err(Error::Option {
            option: name.clone(),
            expected: "a secret".into(),
            found: "an unknown one".into(),
        });
    }
    let is_alert = crate::alert::is_alert_schema(&input_schema);
    let (options, mistakes) = mistakes(connector, &settings.options, &input_schema, is_alert);
    if let Some(mismatch) = mistakes.into_iter().next() {
        return Err(mismatch.into());
    }
    let SinkSettings { name, deployment, base_dir, .. } = settings;
    (connector.open)(OpenContext { name, deployment, base_dir, options, schema: input_schema })
}

fn find(name: &str) -> std::result::Result<&'static Connector, Mismatch> {
    let names = || connectors().iter().map(|connector| connector.name);
    connectors().iter().find(|connector| connector.name == name).copied().ok_or_else(|| {
        let expected = format!("one of {}", names().collect::<Vec<_>>().join(", "));
        let mismatch = Mismatch::of("connector", expected, format!("'{name}'"));
        match closest(name, names()) {
            Some(close) => mismatch.hint(did_you_mean(close)),
            None => mismatch,
        }
    })
}

fn mistakes(
    connector: &'static Connector,
    options: &BTreeMap<String, SinkOption>,
    schema: &Schema,
    is_alert: bool,
) -> (OptionValues, Vec<Mismatch>) {
    let (values, mut mistakes) = OptionValues::parse(connector.options, options, schema);
    if connector.accepts == Accepts::Alerts && !is_alert {
        let expected = format!("alert events, which are all that a {} sink takes", connector.name);
        mistakes.push(Mismatch::of_rows(expected, "plain rows").hint("send them with CREATE ALERT … TO"));
    }
    mistakes.extend((connector.check)(&values, schema));
    (values, mistakes)
}
