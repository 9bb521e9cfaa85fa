//! DataFusion's errors as diagnostics, by their structure and never by their words.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::{Column, DataFusionError, SchemaError};
use sqlparser::tokenizer::{Location, Span as At, TokenWithSpan};

use crate::codes::{self, Code};
use crate::diagnostic::Diagnostic;
use crate::lex::whole_words;
use crate::relation::WindowError;
use crate::source::Span;
use crate::suggest;

/// Where an error belongs when it does not say so itself.
pub(crate) struct Place<'a> {
    pub(crate) file: &'a Arc<PathBuf>,
    /// The statement.
    pub(crate) tokens: &'a [TokenWithSpan],
    pub(crate) at: At,
    /// What an error of no particular kind is called here.
    pub(crate) code: Code,
}

impl Place<'_> {
    fn span(&self, at: Option<datafusion::common::Span>) -> Span {
        self.words(at.map_or(self.at, parser_span))
    }

    /// The whole words at a position; those of the place itself when it is unknown.
    pub(crate) fn words(&self, at: At) -> Span {
        Span::new(self.file, whole_words(self.tokens, if at == At::empty() { self.at } else { at }))
    }
}

/// DataFusion's position as the parser's.
pub(crate) fn parser_span(at: datafusion::common::Span) -> At {
    let location = |l: datafusion::common::Location| Location::new(l.line, l.column);
    At::new(location(at.start), location(at.end))
}

/// All that an error says.
pub(crate) fn diagnostics(error: &DataFusionError, place: &Place<'_>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    collect(error, None, place, &mut out);
    out
}

/// Whether an error says by itself where and what it is.
pub(crate) fn is_specific(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => diagnostic.span.is_some() || is_specific(inner),
        DataFusionError::Context(_, inner) => is_specific(inner),
        DataFusionError::Shared(inner) => is_specific(inner),
        DataFusionError::Collection(errors) => errors.iter().any(is_specific),
        DataFusionError::SchemaError(_, _) => true,
        DataFusionError::External(inner) => inner.is::<WindowError>(),
        _ => false,
    }
}

/// Whether the error is about a column's name.
pub(crate) fn is_schema_error(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => is_schema_error(inner),
        DataFusionError::Shared(inner) => is_schema_error(inner),
        DataFusionError::Collection(errors) => errors.iter().any(is_schema_error),
        DataFusionError::SchemaError(_, _) => true,
        _ => false,
    }
}

fn collect(
    error: &DataFusionError,
    said: Option<&datafusion::common::Diagnostic>,
    place: &Place<'_>,
    out: &mut Vec<Diagnostic>,
) {
    match error {
        DataFusionError::Collection(errors) => errors.iter().for_each(|error| collect(error, said, place, out)),
        DataFusionError::Context(_, inner) => collect(inner, said, place, out),
        DataFusionError::Shared(inner) => collect(inner, said, place, out),
        DataFusionError::Diagnostic(diagnostic, inner) => collect(inner, said.or(Some(diagnostic)), place, out),
        DataFusionError::SchemaError(schema_error, _) => out.push(schema(schema_error, said, place)),
        DataFusionError::External(inner) if inner.is::<WindowError>() => {
            if let Some(error) = inner.downcast_ref::<WindowError>() {
                let diagnostic = Diagnostic::error(error.code, place.words(error.at), &error.message);
                out.push(diagnostic.hint_opt(error.hint.clone()));
            }
        }
        other => out.push(plain(other, said, place)),
    }
}

fn plain(error: &DataFusionError, said: Option<&datafusion::common::Diagnostic>, place: &Place<'_>) -> Diagnostic {
    let message = said.map_or_else(|| error.message().into_owned(), |said| said.message.clone());
    let diagnostic = Diagnostic::error(place.code, place.span(said.and_then(|said| said.span)), lowercase(&message));
    let Some(said) = said else { return diagnostic };
    let notes: Vec<_> = said.notes.iter().map(|note| note.message.as_str()).collect();
    let helps: Vec<_> = said.helps.iter().map(|help| help.message.as_str()).collect();
    let hint = (!helps.is_empty()).then(|| lowercase(&helps.join("; ")));
    diagnostic.label(lowercase(&notes.join(", "))).hint_opt(hint)
}

/// One line, starting in lower case.
fn lowercase(message: &str) -> String {
    let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    let mut chars = line.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => line.to_owned(),
    }
}

fn schema(error: &SchemaError, said: Option<&datafusion::common::Diagnostic>, place: &Place<'_>) -> Diagnostic {
    let span = |field: &Column| place.span(said.and_then(|said| said.span).or(field.spans().first()));
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => no_column(field, valid_fields, span(field)),
        SchemaError::AmbiguousReference { field } => {
            let message = format!("more than one column is called \"{}\"", field.name);
            Diagnostic::error(codes::AMBIGUOUS, span(field), message)
                .hint(format!("say whose it is: table.{}", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            let message = format!("more than one column is called \"{name}\"");
            Diagnostic::error(codes::DUPLICATE_COLUMN, place.span(None), message)
                .hint("give them names of their own with AS")
        }
    }
}

/// No such column among `valid`.
pub(crate) fn no_column(field: &Column, valid: &[Column], span: Span) -> Diagnostic {
    let relations: BTreeSet<String> =
        valid.iter().filter_map(|c| c.relation.as_ref().map(|r| r.table().into())).collect();
    let name = &field.name;
    if let Some(relation) = &field.relation {
        let table = relation.table();
        if !relations.contains(table) {
            let message = format!("nothing is called \"{table}\" in this query");
            let hint = suggest::hint(table, relations.iter().map(String::as_str));
            return Diagnostic::error(codes::NO_COLUMN, span, message).hint_opt(hint);
        }
        let of_table = valid.iter().filter(|c| c.relation.as_ref().is_some_and(|r| r.table() == table));
        let hint = suggest::hint(name, of_table.map(|c| c.name.as_str()));
        return Diagnostic::error(codes::NO_COLUMN, span, format!("no column \"{name}\" in {table}")).hint_opt(hint);
    }
    let relations: Vec<&str> = relations.iter().map(String::as_str).collect();
    let place = if relations.is_empty() { String::new() } else { format!(" in {}", suggest::list(&relations)) };
    let mut names: Vec<&str> = valid.iter().map(|c| c.name.as_str()).collect();
    names.dedup();
    let hint = suggest::hint(name, names);
    Diagnostic::error(codes::NO_COLUMN, span, format!("no column \"{name}\"{place}")).hint_opt(hint)
}
