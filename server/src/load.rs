//! A pipeline's folder, read and checked completely: its SQL, the options of its sinks and connectors, and that every
//! query can be compiled.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thermocline_engine::alert_event_schema;
use thermocline_sinks::{OptionKind, Secret, SinkOption};
use thermocline_sql::{
    Diagnostic, OptionValue, Options, Pipeline, QueryDef, Severity, SinkDef, SourceFile, Span, StreamDef, Target,
};

use crate::error::Result;
use crate::secrets;

/// Environment variables, handed in.
pub type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The files that were checked.
    pub files: Vec<SourceFile>,
    /// Errors and warnings, by place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Findings {
    /// Number of errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.is_error()).count()
    }

    /// All findings as text for a person.
    #[must_use]
    pub fn render(&self) -> String {
        self.diagnostics.iter().map(|d| d.render(&self.files)).collect::<Vec<_>>().join("\n")
    }
}

/// Reads and checks the pipeline at `path`, a folder or one file.
///
/// # Errors
/// The files cannot be read. Mistakes in them are in the findings; the pipeline is `None` then.
pub async fn load(path: &Path, env: Env<'_>) -> Result<(Option<Pipeline>, Findings)> {
    let files = thermocline_sql::load(path)?;
    let checked = thermocline_sql::check(&files, env);
    let mut findings = Findings { files, diagnostics: checked.diagnostics };
    if let Some(pipeline) = &checked.pipeline {
        let found = &mut findings.diagnostics;
        pipeline.streams.values().for_each(|stream| check_connector(stream, env, found));
        pipeline.sinks.values().for_each(|sink| check_sink(pipeline, sink, env, found));
        for (span, error) in thermocline_engine::check(pipeline).await {
            found.push(finding("TC0398", span, error.to_string(), None));
        }
        found.sort_by(|a, b| {
            (&a.span.file, a.span.line, a.span.column).cmp(&(&b.span.file, b.span.line, b.span.column))
        });
    }
    let pipeline = checked.pipeline.filter(|_| findings.errors() == 0);
    Ok((pipeline, findings))
}

/// Columns of what goes into a sink, per query or alert: (name, schema, whether these are alert events).
pub(crate) fn inputs_of(pipeline: &Pipeline, sink: &str) -> Vec<(String, SchemaRef, bool)> {
    let inserts = pipeline.queries.iter().filter(|q| q.target == Target::Sink(sink.to_owned()));
    let alerts = pipeline.alerts.values().filter(|alert| alert.sink == sink);
    let rows = |query: &QueryDef| (query.name.clone(), Arc::new(query.plan.schema().as_arrow().clone()), false);
    inserts.map(rows).chain(alerts.map(|alert| (alert.name.clone(), alert_event_schema(), true))).collect()
}

/// Whether an option counts as given: one that is the empty text, such as `'${VAR:-}'` or `secret('${VAR:-}')` with no
/// variable, does not, so that one statement fits several connectors.
fn is_given(value: &OptionValue) -> bool {
    let (OptionValue::Literal(text) | OptionValue::Secret(text)) = value;
    !text.is_empty()
}

/// Options with their secrets resolved; one that is not set stays unresolved, which is enough to check.
pub(crate) fn sink_options(options: &Options, env: Env<'_>) -> BTreeMap<String, SinkOption> {
    let resolve = |value: &OptionValue| match value {
        OptionValue::Literal(text) => SinkOption::Text(text.clone()),
        OptionValue::Secret(name) => match secrets::resolve(name, env) {
            Ok(Some(value)) => SinkOption::Secret(Secret::new(value)),
            _ => SinkOption::UnresolvedSecret,
        },
    };
    let given = options.iter().filter(|(_, entry)| is_given(&entry.value));
    given.map(|(name, entry)| (name.clone(), resolve(&entry.value))).collect()
}

/// Options of a connector that are plain text.
pub(crate) fn connector_options(options: &Options, env: Env<'_>) -> BTreeMap<String, String> {
    let text = |value: &OptionValue| match value {
        OptionValue::Literal(text) => text.clone(),
        OptionValue::Secret(name) => secrets::resolve(name, env).ok().flatten().unwrap_or_default(),
    };
    // A binding of a door has a prefix; it is no option of the connector.
    let own = options.iter().filter(|(name, entry)| !name.contains('.') && is_given(&entry.value));
    own.map(|(name, entry)| (name.clone(), text(&entry.value))).collect()
}

/// Secrets that a run needs and nobody set: they are mistakes of the surroundings, not of the text.
#[must_use]
pub fn missing_secrets(pipeline: &Pipeline, env: Env<'_>) -> Vec<Diagnostic> {
    let options = pipeline.sinks.values().map(|s| &s.options).chain(pipeline.streams.values().map(|s| &s.options));
    let mut found = Vec::new();
    for entry in options.flat_map(|options| options.values()).filter(|entry| is_given(&entry.value)) {
        let OptionValue::Secret(name) = &entry.value else { continue };
        let problem = match secrets::resolve(name, env) {
            Ok(Some(_)) => continue,
            Ok(None) => format!("secret {name:?} is not set"),
            Err(error) => format!("secret {name:?} cannot be read: {error}"),
        };
        let hint = format!("set the environment variable {name}, or {name}_FILE to a file that holds it");
        found.push(finding("TC0208", entry.span.clone(), problem, Some(hint)));
    }
    found
}

fn check_connector(stream: &StreamDef, env: Env<'_>, found: &mut Vec<Diagnostic>) {
    let Some(connector) = &stream.connector else { return };
    let options = connector_options(&stream.options, env);
    for problem in thermocline_gateway::connector::check_connector(connector, &options, &stream.base_dir) {
        let span = option_span(problem.option.as_deref(), &stream.options, &stream.span);
        found.push(finding("TC0203", span, problem.message, problem.hint));
    }
}

fn check_sink(pipeline: &Pipeline, sink: &SinkDef, env: Env<'_>, found: &mut Vec<Diagnostic>) {
    let options = sink_options(&sink.options, env);
    let mut inputs = inputs_of(pipeline, &sink.name);
    let is_fed = !inputs.is_empty();
    if !is_fed {
        let warning = finding("TC0315", sink.span.clone(), format!("nothing goes into sink {:?}", sink.name), None);
        found.push(Diagnostic { severity: Severity::Warning, ..warning });
        // Its options are checked all the same; a sink of any kind takes alert events.
        inputs.push((sink.name.clone(), alert_event_schema(), true));
    }
    let mut problems = Vec::new();
    for (_, schema, is_alert) in inputs {
        for problem in thermocline_sinks::check(&sink.connector, &options, &schema, is_alert) {
            // Which columns there are is known once something goes into it.
            let is_checkable = is_fed || !names_columns(sink, problem.option.as_deref());
            if is_checkable && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    found.extend(untaken_updates(pipeline, sink));
    for problem in problems {
        let span = option_span(problem.option.as_deref(), &sink.options, &sink.span);
        found.push(finding("TC0203", span, problem.message, problem.hint));
    }
}

/// Queries whose results change after they were emitted, into a sink that keeps what it was given first.
fn untaken_updates(pipeline: &Pipeline, sink: &SinkDef) -> Vec<Diagnostic> {
    let connectors = thermocline_sinks::connectors();
    let takes_updates = connectors.iter().find(|c| c.name == sink.connector).is_none_or(|c| c.takes_updates);
    if takes_updates {
        return Vec::new();
    }
    let message = format!(
        "a {} sink keeps every row that it was given: results that are emitted early or corrected cannot go there",
        sink.connector
    );
    let taking: Vec<&str> = connectors.iter().filter(|c| c.takes_updates).map(|c| c.name).collect();
    let hint = format!("sinks that take updates are {}", taking.join(", "));
    let queries = pipeline.queries.iter().filter(|query| query.target == Target::Sink(sink.name.clone()));
    let spans = queries.filter(|query| query.emit.has_updates()).map(|query| query.emit_span.clone());
    spans.map(|span| finding("TC0408", span, message.clone(), Some(hint.clone()))).collect()
}

/// Whether the option of the sink's connector takes names of columns.
fn names_columns(sink: &SinkDef, option: Option<&str>) -> bool {
    let connector = thermocline_sinks::connectors().iter().find(|connector| connector.name == sink.connector);
    let mut options = connector.into_iter().flat_map(|connector| connector.options);
    let kind = options.find(|spec| Some(spec.name) == option).map(|spec| spec.kind);
    matches!(kind, Some(OptionKind::Column | OptionKind::Columns | OptionKind::PartitionColumn))
}

fn option_span(option: Option<&str>, options: &Options, statement: &Span) -> Span {
    option.and_then(|name| options.get(name)).map_or_else(|| statement.clone(), |entry| entry.span.clone())
}

fn finding(code: &'static str, span: Span, message: String, hint: Option<String>) -> Diagnostic {
    Diagnostic { severity: Severity::Error, code, message, span, label: String::new(), hint }
}
