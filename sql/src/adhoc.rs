//! Ad-hoc queries: one query over the tables that a session holds.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::planner::{SqlToRel, object_name_to_table_reference};
use sqlparser::ast::{ObjectName, Spanned, Statement as SqlStatement};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Span as At, TokenWithSpan};

use crate::blame;
use crate::bounds;
use crate::catalog::Catalog;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::inspect::{Inspection, inspect};
use crate::lex::{self, StatementTokens};
use crate::parse;
use crate::plan_error::{self, Place};
use crate::relation::WINDOWS;
use crate::shape::over_history;
use crate::source::{SourceFile, Span};
use crate::suggest;

/// The path under which diagnostics of an ad-hoc query name its text.
pub(crate) const QUERY_PATH: &str = "query";

/// Plans one query of this dialect over the tables of `ctx`, which [`register_dialect`](crate::register_dialect) was
/// called for: `SELECT`, `EXPLAIN`, `DESCRIBE` or `SHOW`. The plan is not optimised. An aggregate over a window that rows make is
/// a [`KeyedWindowNode`](crate::KeyedWindowNode).
///
/// # Errors
/// What is wrong with the text, in a file called `query`; anything that would change something is refused.
pub async fn plan_query(ctx: &SessionContext, sql: &str) -> Result<LogicalPlan, Vec<Diagnostic>> {
    let (tokens, statement) = read(sql)?;
    let state = ctx.state();
    let mut catalog = Catalog::new(state.clone());
    let place = Place { file: &tokens.file, tokens: &tokens.tokens, at: tokens.at(), code: codes::PLAN };
    let planning = |error: &DataFusionError| plan_error::diagnostics(error, &place);

    let Inspection { relations, findings, .. } = match sql_statement(&statement) {
        Some(statement) => inspect(statement, &catalog),
        None => return Err(vec![not_a_query(&tokens)]),
    };
    let mut found: Vec<Diagnostic> = findings.into_iter().map(|finding| finding.diagnostic(&place)).collect();
    // What the statement names without naming it in FROM: DESCRIBE x, and the catalog's tables behind SHOW.
    let mut wanted = state.resolve_table_references(&statement).map_err(|error| planning(&error))?;
    for relation in &relations {
        match object_name_to_table_reference(relation.clone(), true) {
            Ok(reference) => wanted.push(reference),
            Err(error) => found.extend(planning(&error)),
        }
    }
    for reference in wanted {
        if let Ok(provider) = ctx.table_provider(reference.clone()).await {
            catalog.insert(reference, provider_as_source(provider));
        }
    }
    for relation in relations {
        found.extend(unknown_table(&catalog, ctx, &tokens, &relation));
    }
    if !found.is_empty() {
        return Err(found);
    }
    let query = match sql_statement(&statement) {
        Some(SqlStatement::Query(query)) => Some(query.clone()),
        _ => None,
    };
    let plan = SqlToRel::new(&catalog).statement_to_plan(statement);
    // Types are checked now, to say where they do not fit; the session does it again when it runs the plan.
    let analyzed = match (&plan, &query) {
        (Ok(plan), Some(_)) => Some(catalog.analyze(plan.clone())),
        (Ok(plan), None) if matches!(plan, LogicalPlan::Explain(_)) => Some(catalog.analyze(plan.clone())),
        _ => None,
    };
    let (plan, analyzed) = match (plan, analyzed.transpose()) {
        (Ok(plan), Ok(analyzed)) => (plan, analyzed),
        (Err(error), _) | (_, Err(error)) => {
            let blamed = query.as_ref().map(|query| blame::of_query(query, &catalog, &place));
            return Err(blamed.filter(|blamed| !blamed.is_empty()).unwrap_or_else(|| planning(&error)));
        }
    };
    let over_history = analyzed.as_ref().map_or(Ok(None), over_history).map_err(|error| {
        let at = tokens.tokens.iter().find(|token| WINDOWS.iter().any(|window| lex::is_word(token, window)));
        let code = codes::by_id(error.code, codes::SHAPE_DEFECT);
        let span = place.words(at.map_or(place.at, |token| token.span));
        vec![Diagnostic::error(code, span, error.message).hint(error.hint)]
    })?;
    let plan = over_history.unwrap_or(plan);
    let queries_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    queries_only.verify_plan(&plan).map_err(|_| vec![not_a_query(&tokens)])?;
    Ok(plan)
}

/// The one statement of the text.
fn read(sql: &str) -> Result<(StatementTokens, Statement), Vec<Diagnostic>> {
    let file = SourceFile { path: PathBuf::from(QUERY_PATH), text: sql.to_owned() };
    let mut found = Vec::new();
    let mut statements = lex::statements(&file, None, &mut found).into_iter();
    if !found.is_empty() {
        return Err(found);
    }
    let Some(mut tokens) = statements.next() else {
        let start = At::new(Location::new(1, 1), Location::new(1, 2));
        let span = Span::new(&Arc::new(file.path), start);
        return Err(vec![Diagnostic::error(codes::NOT_A_QUERY, span, "expected a query, found nothing")]);
    };
    if let Some(second) = statements.next() {
        let span = Span::new(&second.file, second.at());
        let message = "one statement at a time can be run";
        return Err(vec![Diagnostic::error(codes::ONE_STATEMENT, span, message)]);
    }
    if ["CREATE", "INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "COPY", "SET", "RESET", "TRUNCATE", "MERGE"]
        .iter()
        .any(|word| tokens.tokens[0].token.to_string().eq_ignore_ascii_case(word))
    {
        return Err(vec![not_a_query(&tokens)]);
    }
    tokens.tokens = parse::plain_window_calls(&tokens.tokens);
    bounds::with_room(|| parse_bounded(&tokens)).map(|statement| (tokens, statement))
}

fn parse_bounded(tokens: &StatementTokens) -> Result<Statement, Vec<Diagnostic>> {
    match parse_tokens(&tokens.tokens) {
        Ok(statement) if sql_statement(&statement).is_some_and(|statement| !bounds::is_bounded(statement)) => {
            let span = Span::new(&tokens.file, tokens.at());
            Err(vec![Diagnostic::error(codes::TOO_DEEP, span, "the query is nested too deeply")])
        }
        Ok(statement) => Ok(statement),
        Err(error) => {
            let place = Place { file: &tokens.file, tokens: &tokens.tokens, at: tokens.at(), code: codes::SYNTAX };
            Err(match parser_error(&error) {
                Some(error) => vec![parse::locate(tokens, error, |list| {
                    parse_tokens(list).err().as_ref().and_then(parser_error).cloned()
                })],
                None => plan_error::diagnostics(&error, &place),
            })
        }
    }
}

fn parse_tokens(tokens: &[TokenWithSpan]) -> Result<Statement, DataFusionError> {
    let mut parser = DFParserBuilder::new(tokens.to_vec()).build()?;
    let statement = parser.parse_statement()?;
    match &parser.parser.peek_token().token {
        sqlparser::tokenizer::Token::SemiColon | sqlparser::tokenizer::Token::EOF => Ok(statement),
        _ => {
            let found = parser.parser.peek_token();
            Err(parser.parser.expected::<()>("the end of the query", found).err().map_or_else(
                || DataFusionError::Internal("a parser error that is none".to_owned()),
                |error| DataFusionError::SQL(Box::new(error), None),
            ))
        }
    }
}

fn parser_error(error: &DataFusionError) -> Option<&ParserError> {
    match error {
        DataFusionError::SQL(error, _) => Some(error),
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => parser_error(inner),
        _ => None,
    }
}

/// The statement, if it only reads.
fn sql_statement(statement: &Statement) -> Option<&SqlStatement> {
    match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(_)
            | SqlStatement::Explain { .. }
            | SqlStatement::ExplainTable { .. }
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ShowVariable { .. } => Some(statement),
            _ => None,
        },
        Statement::Explain(explain) => sql_statement(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => None,
    }
}

fn not_a_query(tokens: &StatementTokens) -> Diagnostic {
    let first = tokens.tokens.first().map_or(At::empty(), |token| token.span);
    Diagnostic::error(codes::NOT_A_QUERY, Span::new(&tokens.file, first), "only queries can be run ad hoc")
        .hint("SELECT, EXPLAIN, DESCRIBE and SHOW TABLES read; everything else belongs into the pipeline's files")
}

fn unknown_table(
    catalog: &Catalog,
    ctx: &SessionContext,
    tokens: &StatementTokens,
    relation: &ObjectName,
) -> Option<Diagnostic> {
    let reference = object_name_to_table_reference(relation.clone(), true).ok()?;
    if catalog.contains(reference.clone()) {
        return None;
    }
    let known = known_tables(ctx);
    let name = match reference.schema() {
        Some(schema) => format!("{schema}.{}", reference.table()),
        None => reference.table().to_owned(),
    };
    let span = Span::new(&tokens.file, relation.span());
    let hint = suggest::hint(&name, known.iter().map(String::as_str));
    Some(Diagnostic::error(codes::NO_TABLE, span, format!("no table \"{name}\"")).hint_opt(hint))
}

/// All tables of the session: those of the default schema by their bare names.
fn known_tables(ctx: &SessionContext) -> Vec<String> {
    let state = ctx.state();
    let defaults = &state.config_options().catalog;
    let Some(catalog) = ctx.catalog(&defaults.default_catalog) else { return Vec::new() };
    let mut names = Vec::new();
    for schema_name in catalog.schema_names() {
        if schema_name == "information_schema" {
            continue;
        }
        let tables = catalog.schema(&schema_name).map(|schema| schema.table_names()).unwrap_or_default();
        let default = schema_name == defaults.default_schema;
        names.extend(tables.into_iter().map(|t| if default { t } else { format!("{schema_name}.{t}") }));
    }
    names.sort();
    names
}
