//! Window functions in FROM as sqlparser can read them: two things that people write there are not part of its SQL.

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::lex::is_word;
use crate::relation::WINDOWS;

/// The tokens with the calls of window functions in plain SQL: `TABLE` before the input left out, and
/// `TIME ZONE '…'` as the named argument `TIME_ZONE => '…'`.
pub(crate) fn plain_window_calls(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    with_named_time_zone(&without_flink_table(tokens))
}

fn word(token: Option<&TokenWithSpan>, expected: &str) -> bool {
    token.is_some_and(|token| is_word(token, expected))
}

/// Whether the `n`th token opens the arguments of a window function.
fn opens_window(tokens: &[TokenWithSpan], n: usize) -> bool {
    tokens[n].token == Token::LParen && n > 0 && WINDOWS.iter().any(|window| word(tokens.get(n - 1), window))
}

/// Flink's `TUMBLE(TABLE readings, …)` and `TUMBLE(DATA => TABLE readings, …)`: the word says nothing, SQL stumbles on it.
fn without_flink_table(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
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

/// `TUMBLE(…, INTERVAL '1 day' TIME ZONE 'Europe/Berlin')`, with or without a comma before it.
fn with_named_time_zone(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether it is that of a window function.
    let mut open = Vec::new();
    let mut n = 0;
    while n < tokens.len() {
        let token = &tokens[n];
        match token.token {
            Token::LParen => open.push(opens_window(tokens, n)),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
        let is_clause = open.last() == Some(&true)
            && word(Some(token), "TIME")
            && word(tokens.get(n + 1), "ZONE")
            && !out.last().is_some_and(|before| is_word(before, "AT"))
            && tokens.get(n + 2).is_some_and(|next| !matches!(next.token, Token::RParen | Token::Comma));
        if !is_clause {
            out.push(token.clone());
            n += 1;
            continue;
        }
        // What is put in stands where the two words do.
        let span = token.span;
        let put_in = |token: Token| TokenWithSpan { token, span };
        if out.last().is_some_and(|before| before.token != Token::Comma && before.token != Token::LParen) {
            out.push(put_in(Token::Comma));
        }
        let name =
            Word { value: "TIME_ZONE".to_owned(), quote_style: None, keyword: sqlparser::keywords::Keyword::NoKeyword };
        out.push(put_in(Token::Word(name)));
        n += 2;
        if tokens.get(n).is_none_or(|next| next.token != Token::RArrow) {
            out.push(put_in(Token::RArrow));
        }
    }
    out
}
