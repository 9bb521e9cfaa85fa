//! A look at a query before it is planned: the names it uses, and what DataFusion would take without saying so.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, JoinOperator, NamedWindowExpr, ObjectName, Query, Select, SelectItem, Spanned,
    TableFactor, Visit, Visitor, WindowSpec, WindowType,
};
use sqlparser::tokenizer::Span as At;

use crate::catalog::Catalog;
use crate::codes::{self, Code};
use crate::diagnostic::Diagnostic;
use crate::lex::first_word;
use crate::parse::normalized;
use crate::plan_error::Place;
use crate::relation::WindowCall;
use crate::suggest;

/// Something wrong, and where.
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) at: At,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The exact words, where the parser does not keep their place: the first of these after `at`.
    words: &'static [&'static str],
}

impl Finding {
    pub(crate) fn diagnostic(self, place: &Place<'_>) -> Diagnostic {
        let exact = first_word(place.tokens, self.at, self.words).unwrap_or(self.at);
        Diagnostic::error(self.code, place.words(exact), self.message).hint_opt(self.hint)
    }
}

/// What was seen.
pub(crate) struct Inspection<'a> {
    catalog: &'a Catalog,
    /// Tables that are read, common table expressions left out.
    pub(crate) relations: Vec<ObjectName>,
    pub(crate) findings: Vec<Finding>,
    with_names: HashSet<String>,
    window_calls: Vec<At>,
}

/// Looks at a query, statement or expression.
pub(crate) fn inspect<'a>(ast: &impl Visit, catalog: &'a Catalog) -> Inspection<'a> {
    let mut inspection = Inspection {
        catalog,
        relations: Vec::new(),
        findings: Vec::new(),
        with_names: HashSet::new(),
        window_calls: Vec::new(),
    };
    // The visitor never breaks off.
    let _ = ast.visit(&mut inspection);
    let Inspection { relations, with_names, .. } = &mut inspection;
    relations.retain(|name| simple_name(name).is_none_or(|name| !with_names.contains(&name)));
    inspection
}

/// The name, normalized, if it has no schema in front.
pub(crate) fn simple_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(normalized),
        _ => None,
    }
}

impl Inspection<'_> {
    fn find(&mut self, code: Code, at: At, message: impl Into<String>, hint: Option<String>) {
        self.findings.push(Finding { code, at, message: message.into(), hint, words: &[] });
    }

    /// Something that DataFusion passes over without a word.
    fn ignored(&mut self, present: bool, at: At, what: &'static [&'static str]) {
        if present {
            let message = format!("{} would be ignored", what.first().unwrap_or(&"this"));
            let hint = Some("leave it out".to_owned());
            self.findings.push(Finding { code: codes::IGNORED, at, message, hint, words: what });
        }
    }

    fn table(&mut self, factor: &TableFactor, name: &ObjectName) {
        let TableFactor::Table {
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } = factor
        else {
            return;
        };
        let at = name.span();
        self.ignored(sample.is_some(), at, &["TABLESAMPLE", "SAMPLE"]);
        self.ignored(version.is_some(), at, &["FOR", "AT", "VERSION"]);
        self.ignored(!with_hints.is_empty() || !index_hints.is_empty(), at, &["WITH", "USE", "FORCE", "IGNORE"]);
        self.ignored(*with_ordinality, at, &["ORDINALITY"]);
        self.ignored(!partitions.is_empty() || json_path.is_some(), at, &["PARTITION"]);
        if args.is_none() {
            self.relations.push(name.clone());
            return;
        }
        let function = simple_name(name).unwrap_or_default();
        if !self.catalog.state.table_functions().contains_key(&function) {
            let known = self.catalog.state.table_functions();
            let windows = crate::relation::WINDOWS.into_iter();
            let hint = suggest::closest(&function, windows.chain(known.keys().map(String::as_str)))
                .map(|close| format!("did you mean {close}?"));
            self.find(codes::NO_FUNCTION, at, format!("no function \"{name}\" can stand in FROM"), hint);
        }
    }

    /// DataFusion takes `(w ROWS …)` as if the window `w` were not named.
    fn extended_window(&mut self, spec: &WindowSpec) {
        if let Some(name) = &spec.window_name {
            let message = format!("the window \"{name}\" would be ignored: a named window cannot be extended");
            let hint = Some("write out its PARTITION BY and ORDER BY".to_owned());
            self.find(codes::IGNORED, name.span, message, hint);
        }
    }

    /// DataFusion says of it that the types do not fit.
    fn aggregate_of_an_aggregate(&mut self, outer: &Function) {
        if outer.over.is_some() || aggregate(self.catalog, outer).is_none() {
            return;
        }
        let mut search = AggregateSearch { catalog: self.catalog, queries: 0 };
        if let ControlFlow::Break(at) = outer.args.visit(&mut search) {
            let hint = "take one in a subquery: SELECT max(n) FROM (SELECT count(*) AS n … GROUP BY …) …";
            self.find(codes::PLAN, at, "an aggregate of an aggregate", Some(hint.to_owned()));
        }
    }

    fn function(&mut self, name: &ObjectName) {
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return };
        let known = normalized(last);
        if self.window_calls.contains(&last.span) || known == "descriptor" || known == "unnest" {
            return;
        }
        if self.catalog.has_function(&known) {
            return;
        }
        let upper = known.to_uppercase();
        let hint = if crate::relation::WINDOWS.contains(&upper.as_str()) {
            Some(format!("{upper} stands in FROM: FROM {upper}(input, time, …) GROUP BY window_start, window_end"))
        } else {
            suggest::closest(&known, self.catalog.function_names()).map(|close| format!("did you mean \"{close}\"?"))
        };
        self.find(codes::NO_FUNCTION, last.span, format!("no function \"{}\"", last.value), hint);
    }
}

/// Where an aggregate function is named that is called as one.
fn aggregate(catalog: &Catalog, call: &Function) -> Option<At> {
    let name = call.name.0.last()?.as_ident()?;
    let is_aggregate = call.over.is_none() && catalog.state.aggregate_functions().contains_key(&normalized(name));
    is_aggregate.then_some(name.span)
}

/// Looks for the first aggregate that is not in a query of its own.
struct AggregateSearch<'a> {
    catalog: &'a Catalog,
    queries: usize,
}

impl Visitor for AggregateSearch<'_> {
    type Break = At;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<At> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<At> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<At> {
        match expr {
            Expr::Function(call) if self.queries == 0 => {
                aggregate(self.catalog, call).map_or(ControlFlow::Continue(()), ControlFlow::Break)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn first_span(idents: &[Ident]) -> At {
    idents.first().map_or(At::empty(), |ident| ident.span)
}

impl Visitor for Inspection<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.with_names.extend(with.cte_tables.iter().map(|cte| normalized(&cte.alias.name)));
        }
        let at = At::new(query.body.span().start, query.body.span().start);
        self.ignored(!query.locks.is_empty(), at, &["FOR"]);
        self.ignored(query.for_clause.is_some(), at, &["FOR"]);
        self.ignored(query.settings.is_some(), at, &["SETTINGS"]);
        self.ignored(query.format_clause.is_some(), at, &["FORMAT"]);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for named in &select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &named.1 {
                self.extended_window(spec);
            }
        }
        let at = select.select_token.0.span;
        self.ignored(select.prewhere.is_some(), at, &["PREWHERE"]);
        self.ignored(!select.connect_by.is_empty(), at, &["CONNECT", "START"]);
        self.ignored(!select.distribute_by.is_empty(), at, &["DISTRIBUTE"]);
        self.ignored(
            select.select_modifiers.is_some(),
            at,
            &["HIGH_PRIORITY", "STRAIGHT_JOIN", "SQL_NO_CACHE", "DISTINCTROW"],
        );
        self.ignored(select.value_table_mode.is_some(), at, &["AS"]);
        self.ignored(select.exclude.is_some(), at, &["EXCLUDE"]);
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = &select.group_by;
        self.ignored(!modifiers.is_empty(), select.group_by.span(), &["WITH"]);
        for (n, item) in select.projection.iter().enumerate() {
            if matches!(item, SelectItem::UnnamedExpr(_)) && select.projection[..n].contains(item) {
                let message = format!("the column {item} stands twice");
                let hint = Some("give one of them another name with AS".to_owned());
                self.find(codes::DUPLICATE_COLUMN, item.span(), message, hint);
            }
        }
        for join in select.from.iter().flat_map(|from| &from.joins) {
            let at = join.relation.span();
            self.ignored(join.global, at, &["GLOBAL"]);
            if matches!(join.join_operator, JoinOperator::AsOf { .. }) {
                let hint =
                    "a continuous query joins two streams by it: ASOF JOIN … MATCH_CONDITION (a.ts >= b.ts) ON …";
                self.find(codes::SOON_ASOF, at, "this as-of join is not supported yet", Some(hint.to_owned()));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Some(call) = WindowCall::of(factor) {
            self.window_calls.push(call.at);
            self.relations.extend(call.input_name());
            return ControlFlow::Continue(());
        }
        match factor {
            TableFactor::Table { name, .. } => self.table(factor, name),
            TableFactor::Derived { sample, subquery, .. } => {
                self.ignored(sample.is_some(), subquery.body.span(), &["TABLESAMPLE", "SAMPLE"]);
            }
            TableFactor::Function { name, .. } => self.function(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                self.function(&function.name);
                self.aggregate_of_an_aggregate(function);
                if let Some(WindowType::WindowSpec(spec)) = &function.over {
                    self.extended_window(spec);
                }
            }
            Expr::CompoundIdentifier(idents) if idents.len() > 3 => {
                let message = "a column's name has at most a schema and a table in front";
                self.find(codes::NO_COLUMN, first_span(idents), message, None);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
