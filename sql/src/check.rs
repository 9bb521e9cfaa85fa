//! A folder of statements becomes a [`Pipeline`]: names, types and everything else that can be known before it runs.
//!
//! All mistakes are found in one run: a statement that cannot be read leaves its neighbours alone, and what only
//! follows from another mistake is not reported.

mod absence;
mod alert;
mod declare;
mod emit;
mod materialized;
mod metadata;
mod nested;
mod options;
mod order;
mod per_key;
mod query;
mod union;
mod view_key;
mod view_time;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;

use crate::ast::{Kind, Statement};
use crate::catalog::Catalog;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lex;
use crate::parse::{self, normalized};
use crate::pipeline::Pipeline;
use crate::session::{EventTimes, register_dialect, session_config};
use crate::source::{SourceFile, Span};

/// The outcome of [`check`].
#[derive(Debug)]
pub struct Checked {
    /// The pipeline; `None` when there are errors.
    pub pipeline: Option<Pipeline>,
    /// All findings, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks a pipeline completely. `env` looks environment variables up, for `${VAR}`.
///
/// Secrets are not looked up and connectors' options not judged here; no file but the pipeline's own is read.
pub fn check(files: &[SourceFile], env: &dyn Fn(&str) -> Option<String>) -> Checked {
    let mut checker = Checker::new();
    let mut statements = Vec::new();
    for file in files {
        for tokens in lex::statements(file, Some(env), &mut checker.found) {
            match parse::statement(&tokens, &mut checker.found) {
                Some(statement) => statements.push(statement),
                None => checker.broken.extend(parse::declared_name(&tokens)),
            }
        }
    }
    checker.names(&statements);
    checker.declarations(&statements);
    let views = checker.views_in_order(&statements);
    for view in views {
        checker.view(view, files);
        checker.materialized_view(view);
    }
    checker.queries(&statements);
    checker.alerts(&statements);
    checker.finish(files)
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Stream,
    Table,
    View,
    MaterializedView,
    Sink,
    Alert,
}

impl NameKind {
    fn word(self) -> &'static str {
        match self {
            Self::Stream => "a stream",
            Self::Table => "a table",
            Self::View => "a view",
            Self::MaterializedView => "a materialized view",
            Self::Sink => "a sink",
            Self::Alert => "an alert",
        }
    }
}

struct Checker {
    catalog: Catalog,
    event_times: EventTimes,
    names: HashMap<String, NameKind>,
    /// Names that are declared by a statement with mistakes: what uses them is not judged.
    broken: HashSet<String>,
    /// Statements that declare a name a second time.
    repeated: Vec<Span>,
    /// What each materialized view reads.
    view_inputs: Vec<(Vec<String>, String)>,
    pipeline: Pipeline,
    found: Vec<Diagnostic>,
}

impl Checker {
    fn new() -> Self {
        let ctx = SessionContext::new_with_config(session_config());
        let event_times = EventTimes::default();
        register_dialect(&ctx, event_times.clone());
        Self {
            catalog: Catalog::new(ctx.state()),
            event_times,
            names: HashMap::new(),
            broken: HashSet::new(),
            repeated: Vec::new(),
            view_inputs: Vec::new(),
            pipeline: Pipeline::default(),
            found: Vec::new(),
        }
    }

    /// Gathers the names that statements declare.
    fn names(&mut self, statements: &[Statement]) {
        let mut first: HashMap<String, Span> = HashMap::new();
        for statement in statements {
            let (name, kind) = match &statement.kind {
                Kind::Stream(stream) => (&stream.name, NameKind::Stream),
                Kind::Table(table) => (&table.name, NameKind::Table),
                Kind::View(view) => (&view.name, NameKind::View),
                Kind::MaterializedView(view) => (&view.name, NameKind::MaterializedView),
                Kind::Sink(sink) => (&sink.name, NameKind::Sink),
                Kind::Alert(alert) => (&alert.name, NameKind::Alert),
                Kind::Insert(_) => continue,
            };
            let span = statement.span(name.span);
            let name = normalized(name);
            if let Some(before) = first.get(&name) {
                let message = format!("the name \"{name}\" is declared twice");
                let place = format!("{}:{}", before.file.display(), before.line);
                self.found.push(
                    Diagnostic::error(codes::DUPLICATE_NAME, span, message)
                        .hint(format!("it is declared first at {place}")),
                );
                self.repeated.push(statement.span(statement.at));
            } else {
                self.names.insert(name.clone(), kind);
                first.insert(name, span);
            }
        }
    }

    fn is_repeated(&self, statement: &Statement) -> bool {
        self.repeated.contains(&statement.span(statement.at))
    }

    /// Streams, tables and sinks.
    fn declarations(&mut self, statements: &[Statement]) {
        for statement in statements.iter().filter(|statement| !self.is_repeated(statement)).collect::<Vec<_>>() {
            let before = self.errors();
            let name = match &statement.kind {
                Kind::Stream(stream) => {
                    self.stream(statement, stream);
                    &stream.name
                }
                Kind::Table(table) => {
                    self.table(statement, table);
                    &table.name
                }
                Kind::Sink(sink) => {
                    self.sink(statement, sink);
                    continue;
                }
                _ => continue,
            };
            let name = normalized(name);
            let schema = (self.pipeline.streams.get(&name).map(|stream| &stream.schema))
                .or_else(|| self.pipeline.tables.get(&name).map(|table| &table.schema));
            match schema {
                Some(schema) if self.errors() == before => {
                    let source = Arc::new(crate::catalog::DeclaredTable { schema: Arc::clone(schema) });
                    self.catalog.insert(TableReference::bare(name), source);
                }
                _ => {
                    self.broken.insert(name);
                }
            }
        }
    }

    fn errors(&self) -> usize {
        self.found.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    /// The names that can be read from, for suggestions.
    fn readable(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .names
            .iter()
            .filter(|(_, kind)| !matches!(kind, NameKind::Sink | NameKind::Alert))
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    fn names_of(&self, kinds: &[NameKind]) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.names.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn finish(mut self, files: &[SourceFile]) -> Checked {
        let place = |span: &Span| {
            let file = files.iter().position(|file| file.path == *span.file);
            (file, span.line, span.column)
        };
        self.found.sort_by_key(|diagnostic| place(&diagnostic.span));
        self.found.dedup();
        let errors = self.errors();
        Checked { pipeline: (errors == 0).then_some(self.pipeline), diagnostics: self.found }
    }
}
