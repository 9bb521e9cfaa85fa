//! Statements around a query: `INSERT INTO`, `CREATE VIEW`, `CREATE SINK`; and `EMIT`.

use sqlparser::tokenizer::{Span as At, Token, TokenWithSpan};

use super::options::with_options;
use super::{Parsed, Words, parser};
use crate::asof;
use crate::ast::{Body, CreateSink, CreateView, Insert};
use crate::codes;
use crate::lex::is_word;
use crate::relation::{LATER_WINDOWS, WINDOWS};

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
    let query_tokens = without_flink_table(&rest[..trailer]);
    refuse_time_zones(words, &query_tokens)?;
    let mut query_parser = parser(&query_tokens);
    let mut query = query_parser.parse_query()?;
    words.bounded(&query, start)?;
    asof::rewrite(&mut query);
    let left = query_parser.peek_token();
    let at = At::new(start, query_parser.get_current_token().span.end);
    // On with the words behind the query, which are not part of SQL.
    let read = rest.iter().position(|token| token.span == left.span).unwrap_or(trailer);
    (0..read).for_each(|_| words.parser.advance_token());
    trailers(words)?;
    Ok(Body { query, at })
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

/// `EMIT ON WINDOW CLOSE` is what happens anyway; the others are not built yet.
fn trailers(words: &mut Words<'_>) -> Parsed<()> {
    loop {
        let start = words.start();
        if words.take_all(&["EMIT", "ON", "WINDOW", "CLOSE"]) {
            continue;
        }
        let (code, message) = if words.take_all(&["EMIT", "ON", "UPDATE"]) {
            (codes::SOON_EMIT, "EMIT ON UPDATE is not supported yet")
        } else if words.take_all(&["EMIT", "EVERY"]) {
            words.clause()?;
            (codes::SOON_EMIT, "EMIT EVERY is not supported yet")
        } else if words.take_all(&["ALLOW", "LATENESS"]) {
            words.clause()?;
            (codes::SOON_LATENESS, "ALLOW LATENESS is not supported yet")
        } else if words.is("EMIT") {
            return Err(words
                .unexpected("expected EMIT ON WINDOW CLOSE, EMIT ON UPDATE or EMIT EVERY INTERVAL '…'")
                .into());
        } else {
            return Ok(());
        };
        let hint = match code.id {
            id if id == codes::SOON_EMIT.id => "without it, a window's result is emitted once, when the window closes",
            _ => "rows that come too late are kept and can be queried as late.<stream>",
        };
        let diagnostic = words.diagnostic(code, words.since(start), message).hint(hint);
        words.note(diagnostic);
    }
}

fn word(token: Option<&TokenWithSpan>, expected: &str) -> bool {
    token.is_some_and(|token| is_word(token, expected))
}

/// Whether the `n`th token opens the arguments of a window function.
fn opens_window(tokens: &[TokenWithSpan], n: usize) -> bool {
    tokens[n].token == Token::LParen
        && n > 0
        && WINDOWS.iter().chain(&LATER_WINDOWS).any(|window| word(tokens.get(n - 1), window))
}

/// Flink's `TUMBLE(TABLE readings, …)` and `TUMBLE(DATA => TABLE readings, …)`: the word says nothing, SQL stumbles on it.
pub(crate) fn without_flink_table(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    for (n, token) in tokens.iter().enumerate() {
        let first_argument = n > 0 && opens_window(tokens, n - 1);
        let named_data = n > 2
            && tokens[n - 1].token == Token::RArrow
            && word(tokens.get(n - 2), "DATA")
            && opens_window(tokens, n - 3);
        let before_name = matches!(tokens.get(n + 1).map(|next| &next.token), Some(Token::Word(_)));
        if !((first_argument || named_data) && before_name && word(Some(token), "TABLE")) {
            out.push(token.clone());
        }
    }
    out
}

/// `TUMBLE(…, TIME ZONE 'Europe/Berlin')`
fn refuse_time_zones(words: &Words<'_>, tokens: &[TokenWithSpan]) -> Parsed<()> {
    for n in 1..tokens.len().saturating_sub(1) {
        if tokens[n - 1].token == Token::Comma && word(tokens.get(n), "TIME") && word(tokens.get(n + 1), "ZONE") {
            let at = At::new(tokens[n].span.start, tokens[n + 1].span.end);
            let message = "windows aligned to a time zone are not supported yet";
            let diagnostic = words.diagnostic(codes::SOON_TIME_ZONE, at, message);
            return Err(diagnostic.hint("windows are aligned to UTC; an offset shifts them").into());
        }
    }
    Ok(())
}
