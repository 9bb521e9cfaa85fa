//! Views in the order of their dependencies, and circles among views and streams.

use std::collections::{HashMap, HashSet};

use super::{Checker, NameKind};
use crate::ast::{Kind, Statement};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::inspect::{inspect, simple_name};
use crate::parse::normalized;

impl Checker {
    /// The views, each after those it uses. Those in a circle are reported and left out.
    pub(super) fn views_in_order<'a>(&mut self, statements: &'a [Statement]) -> Vec<&'a Statement> {
        let mut views: Vec<(String, &Statement, Vec<String>)> = Vec::new();
        for statement in statements.iter().filter(|statement| !self.is_repeated(statement)) {
            let (name, body) = match &statement.kind {
                Kind::View(view) => (&view.name, &view.query),
                Kind::MaterializedView(view) => (&view.name, &view.query),
                _ => continue,
            };
            let relations = inspect(&body.query, &self.catalog).relations;
            let used = relations.iter().filter_map(simple_name).collect();
            views.push((normalized(name), statement, used));
        }
        let mut ordered = Vec::new();
        let mut done: HashSet<String> = HashSet::new();
        while !views.is_empty() {
            let waiting: HashSet<String> = views.iter().map(|(name, ..)| name.clone()).collect();
            let (ready, rest): (Vec<_>, Vec<_>) =
                views.into_iter().partition(|(_, _, used)| !used.iter().any(|name| waiting.contains(name)));
            if ready.is_empty() {
                self.report_circle(&rest);
                break;
            }
            for (name, statement, _) in ready {
                done.insert(name);
                ordered.push(statement);
            }
            views = rest;
        }
        ordered
    }

    fn report_circle(&mut self, views: &[(String, &Statement, Vec<String>)]) {
        let uses: HashMap<&str, &Vec<String>> = views.iter().map(|(name, _, used)| (name.as_str(), used)).collect();
        for (name, statement, _) in views {
            self.broken.insert(name.clone());
            let ident = match &statement.kind {
                Kind::View(view) => &view.name,
                Kind::MaterializedView(view) => &view.name,
                _ => continue,
            };
            if reaches(name, name, &uses) {
                let message = format!("the view \"{name}\" depends on itself");
                self.found.push(Diagnostic::error(codes::CYCLE, statement.span(ident.span), message));
            }
        }
    }

    /// Streams that are written, through other streams or not, from themselves. `writes`: from, to, statement.
    pub(super) fn report_stream_circles(&mut self, writes: &[(Vec<String>, String, &Statement)]) {
        let mut feeds: HashMap<&str, Vec<String>> = HashMap::new();
        let written = writes.iter().map(|(from, to, _)| (from, to));
        for (from, to) in written.chain(self.view_inputs.iter().map(|(from, to)| (from, to))) {
            let is_fed = |kind: Option<&NameKind>| matches!(kind, Some(NameKind::Stream | NameKind::MaterializedView));
            for source in from.iter().filter(|name| is_fed(self.names.get(*name))) {
                feeds.entry(source).or_default().push(to.clone());
            }
        }
        let feeds: HashMap<&str, &Vec<String>> = feeds.iter().map(|(name, to)| (*name, to)).collect();
        for (from, to, statement) in writes {
            if from.iter().any(|source| source == to || reaches(to, source, &feeds))
                && let Kind::Insert(insert) = &statement.kind
            {
                let message = format!("the stream \"{to}\" is written from its own rows");
                let hint = "every row would make another one, for ever";
                let span = statement.span(insert.target.span);
                self.found.push(Diagnostic::error(codes::CYCLE, span, message).hint(hint));
            }
        }
    }
}

/// Whether `to` can be reached from `from` in one or more steps.
fn reaches(from: &str, to: &str, edges: &HashMap<&str, &Vec<String>>) -> bool {
    let mut seen = HashSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(name) = next.pop() {
        for step in edges.get(name).into_iter().flat_map(|steps| steps.iter()) {
            if step == to {
                return true;
            }
            if seen.insert(step.as_str()) {
                next.push(step);
            }
        }
    }
    false
}
