//! Statements around a query: `INSERT INTO`, `CREATE VIEW`, `CREATE SINK`; and `EMIT`.

use sqlparser::tokenizer::{Span as At, Token, TokenWithSpan};

use super::options::with_options;
use super::window::plain_window_calls;
use super::{Parsed, Words, parser};
use crate::asof;
use crate::ast::{Body, Clause, CreateMaterializedView, CreateSink, CreateView, EmitClause, EmitClauses, Insert};
use crate::lex::is_word;

/// After `INSERT`.
pub(super) fn insert(words: &mut Words<'_>) -> Parsed<Insert> {
    words.expect("INTO")?;
    let target = words.declared("the name of a stream or sink")?;
    let mut columns = Vec::new();
    let query_in_parentheses = ["SELECT", "WITH", "VALUES"].iter().any(|word| {
        matches!(&words.parser.peek_nth_token_ref(1).token, Token::Word(w) if w.value.eq_ignore_ascii_case(word))
    });
    if words.peek().token == Token::LParen && !query_in_parentheses {
        columns = words.names("a column's name")?;
    }
    Ok(Insert { target, columns, query: body(words)? })
}

/// After `CREATE VIEW`.
pub(super) fn create_view(words: &mut Words<'_>) -> Parsed<CreateView> {
    let name = words.declared("the view's name")?;
    words.expect("AS")?;
    Ok(CreateView { name, query: body(words)? })
}

/// After `CREATE MATERIALIZED VIEW`.
pub(super) fn create_materialized_view(words: &mut Words<'_>) -> Parsed<CreateMaterializedView> {
    let name = words.declared("the view's name")?;
    let options = with_options(words)?;
    words.expect("AS")?;
    Ok(CreateMaterializedView { name, options, query: body(words)? })
}

/// After `CREATE SINK`.
pub(super) fn create_sink(words: &mut Words<'_>) -> Parsed<CreateSink> {
    let name = words.declared("the sink's name")?;
    let options = with_options(words)?;
    let query = if words.take("AS") { Some(body(words)?) } else { None };
    Ok(CreateSink { name, options, query })
}

/// A query to the end of the statement, with the clauses of this dialect behind it.
pub(super) fn body(words: &mut Words<'_>) -> Parsed<Body> {
    if !["SELECT", "WITH", "VALUES", "FROM"].iter().any(|word| words.is(word)) && words.peek().token != Token::LParen {
        return Err(words.unexpected("expected a query").into());
    }
    let start = words.start();
    let rest = rest(words);
    let trailer = trailer_start(&rest);
    let query_tokens = plain_window_calls(&rest[..trailer]);
    let mut query_parser = parser(&query_tokens);
    let mut query = query_parser.parse_query()?;
    words.bounded(&query, start)?;
    asof::rewrite(&mut query);
    let left = query_parser.peek_token();
    let at = At::new(start, query_parser.get_current_token().span.end);
    // On with the words behind the query, which are not part of SQL.
    let read = rest.iter().position(|token| token.span == left.span).unwrap_or(trailer);
    (0..read).for_each(|_| words.parser.advance_token());
    let emit = trailers(words)?;
    Ok(Body { query, at, emit })
}

fn rest(words: &Words<'_>) -> Vec<TokenWithSpan> {
    (0..).map(|n| words.parser.peek_nth_token(n)).take_while(|token| token.token != Token::EOF).collect()
}

/// Where `EMIT …` or `ALLOW LATENESS …` begins: left to SQL, their first word would be taken for an alias.
fn trailer_start(tokens: &[TokenWithSpan]) -> usize {
    let mut depth = 0_usize;
    for (n, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ => {
                let next = tokens.get(n + 1);
                let pairs = [("EMIT", "ON"), ("EMIT", "EVERY"), ("ALLOW", "LATENESS")];
                if pairs.iter().any(|(first, second)| word(Some(token), first) && word(next, second)) {
                    return n;
                }
            }
        }
    }
    tokens.len()
}

/// `EMIT …` and `ALLOW LATENESS …`, in any order.
fn trailers(words: &mut Words<'_>) -> Parsed<EmitClauses> {
    let mut clauses = EmitClauses::default();
    loop {
        let start = words.start();
        if words.is("EMIT") {
            words.once(&clauses.emit, "EMIT")?;
            clauses.emit = Some(if words.take_all(&["EMIT", "ON", "WINDOW", "CLOSE"]) {
                EmitClause::OnWindowClose
            } else if words.take_all(&["EMIT", "ON", "UPDATE"]) {
                EmitClause::OnUpdate(words.since(start))
            } else if words.take_all(&["EMIT", "EVERY"]) {
                let Clause { expr, .. } = words.clause()?;
                EmitClause::Every(Box::new(Clause { expr, at: words.since(start) }))
            } else {
                let expected = "expected EMIT ON WINDOW CLOSE, EMIT ON UPDATE or EMIT EVERY INTERVAL '…'";
                return Err(words.unexpected(expected).into());
            });
        } else if words.is_all(&["ALLOW", "LATENESS"]) {
            words.once(&clauses.lateness, "ALLOW LATENESS")?;
            words.take_all(&["ALLOW", "LATENESS"]);
            let Clause { expr, .. } = words.clause()?;
            clauses.lateness = Some(Clause { expr, at: words.since(start) });
        } else {
            return Ok(clauses);
        }
    }
}

fn word(token: Option<&TokenWithSpan>, expected: &str) -> bool {
    token.is_some_and(|token| is_word(token, expected))
}
