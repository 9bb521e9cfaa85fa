//! From text to statements' tokens: splits at `;`, and puts the values of `${VAR}` in.
//!
//! A value is put into a token after the text was split into tokens. It stays inside its string literal, or becomes one
//! token of its own (a number, `TRUE`/`FALSE`, or text), so it can never change a statement's structure.

use std::path::PathBuf;
use std::sync::Arc;

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Location, Span as At, Token, TokenWithSpan, Tokenizer};

use crate::bounds::MAX_TOKENS;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::parse::KINDS;
use crate::source::{SourceFile, Span, slice};

/// Looks a variable up.
pub(crate) type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The tokens of one statement, without white space, ending in `;`.
#[derive(Debug, Clone)]
pub(crate) struct StatementTokens {
    pub(crate) file: Arc<PathBuf>,
    pub(crate) tokens: Vec<TokenWithSpan>,
    /// As it was written.
    pub(crate) sql: String,
}

impl StatementTokens {
    /// From the first word to the last.
    pub(crate) fn at(&self) -> At {
        match self.tokens.as_slice() {
            [first, .., last, _] => At::new(first.span.start, last.span.end),
            [first, ..] => first.span,
            [] => At::empty(),
        }
    }
}

/// Whether a token is this word, in any case and not quoted.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Where one of these words first stands at or after the start of `at`.
pub(crate) fn first_word(tokens: &[TokenWithSpan], at: At, words: &[&str]) -> Option<At> {
    let mut behind = tokens.iter().skip_while(|token| token.span.start < at.start);
    behind.find(|token| words.iter().any(|word| is_word(token, word))).map(|token| token.span)
}

/// A position of the parser, widened to what belongs to it: the parser leaves out closing parentheses, and `INTERVAL`.
pub(crate) fn whole_words(tokens: &[TokenWithSpan], at: At) -> At {
    let Some(mut first) = tokens.iter().position(|token| token.span.start >= at.start) else { return at };
    if tokens[first].span.start >= at.end && at.end > at.start {
        return at;
    }
    let mut last = first;
    let mut open = 0_usize;
    for (n, token) in tokens.iter().enumerate().skip(first) {
        if token.token == Token::SemiColon || (token.span.start >= at.end && open == 0) {
            break;
        }
        match token.token {
            Token::LParen => open += 1,
            Token::RParen => open = open.saturating_sub(1),
            _ => {}
        }
        last = n;
    }
    if matches!(tokens[first].token, Token::SingleQuotedString(_))
        && first > 0
        && is_word(&tokens[first - 1], "INTERVAL")
    {
        first -= 1;
    }
    let end = tokens[last].span.end;
    At::new(tokens[first].span.start, if end > at.end { end } else { at.end })
}

/// The statements of a file, with the values of variables put in where there is an `env`. What cannot be read is
/// reported and left out, its neighbours stay.
pub(crate) fn statements(
    file: &SourceFile,
    env: Option<&Env<'_>>,
    found: &mut Vec<Diagnostic>,
) -> Vec<StatementTokens> {
    let path = Arc::new(file.path.clone());
    let mut statements = Vec::new();
    for mut tokens in split(&path, &file.text, found) {
        if tokens.len() > MAX_TOKENS {
            let message = format!("this statement has more than {MAX_TOKENS} words");
            found.push(Diagnostic::error(codes::TOO_DEEP, Span::new(&path, tokens[0].span), message));
            continue;
        }
        if let Some(env) = env {
            tokens = substitute(tokens, &file.text, env, &mut |at, message: String| {
                let hint = "give a default with ${NAME:-default}, or set the variable";
                found.push(Diagnostic::error(codes::VARIABLE, Span::new(&path, at), message).hint(hint));
            });
        }
        let mut statement = StatementTokens { file: Arc::clone(&path), tokens, sql: String::new() };
        statement.sql = slice(&file.text, statement.at()).to_owned();
        statements.push(statement);
    }
    statements
}

/// The tokens of each statement that has any, without white space, ending in `;`.
fn split(path: &Arc<PathBuf>, text: &str, found: &mut Vec<Diagnostic>) -> Vec<Vec<TokenWithSpan>> {
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let complete = outcome.is_ok();
    if let Err(error) = outcome {
        let start = tokens.last().map_or(Location::new(1, 1), |last: &TokenWithSpan| last.span.end);
        let at = At::new(start, Location::new(start.line, start.column + 1));
        found.push(
            Diagnostic::error(codes::TOKEN, Span::new(path, at), "this text does not end")
                .label(error.message.to_lowercase())
                .hint("close the quote or comment"),
        );
    }
    let mut statements = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    let mut depth = 0_usize;
    let mut words = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).peekable();
    while let Some(token) = words.next() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let in_statement = current.first().is_some_and(|first| is_word(first, "CREATE") || is_word(first, "INSERT"));
        if depth == 0 && in_statement && starts_statement(&token, words.peek()) {
            let message = "expected \";\" before the next statement";
            found.push(Diagnostic::error(codes::SYNTAX, Span::new(path, token.span), message));
            current.push(TokenWithSpan::new(Token::SemiColon, token.span));
            statements.push(std::mem::take(&mut current));
        }
        let ends = token.token == Token::SemiColon;
        current.push(token);
        if ends {
            depth = 0;
            statements.push(std::mem::take(&mut current));
        }
    }
    if complete && !current.is_empty() {
        // The end of the file ends a statement too.
        current.push(end_after(&current));
        statements.push(current);
    }
    statements.retain(|tokens| tokens.len() > 1);
    statements
}

/// A closing `;` behind the tokens: something to point at when something is missing there.
fn end_after(tokens: &[TokenWithSpan]) -> TokenWithSpan {
    let end = tokens.last().map_or(Location::new(1, 1), |last| last.span.end);
    TokenWithSpan::new(Token::SemiColon, At::new(end, Location::new(end.line, end.column + 1)))
}

/// Whether these two words can only be the beginning of a statement.
fn starts_statement(first: &TokenWithSpan, second: Option<&TokenWithSpan>) -> bool {
    let second_is = |word: &&str| second.is_some_and(|second| is_word(second, word));
    (is_word(first, "CREATE") && KINDS.iter().any(second_is)) || (is_word(first, "INSERT") && second_is(&"INTO"))
}

fn substitute(
    tokens: Vec<TokenWithSpan>,
    text: &str,
    env: &Env<'_>,
    complain: &mut dyn FnMut(At, String),
) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(mut token) = rest.next() {
        match &token.token {
            Token::SingleQuotedString(literal) if literal.contains("${") => {
                let value = in_text(literal, env, &mut |message| complain(token.span, message));
                token.token = Token::SingleQuotedString(value);
                out.push(token);
            }
            Token::Placeholder(name)
                if name == "$"
                    && rest.peek().is_some_and(|t| t.token == Token::LBrace && t.span.start == token.span.end) =>
            {
                let start = token.span.start;
                let mut end = token.span.end;
                for inner in rest.by_ref() {
                    end = inner.span.end;
                    if matches!(inner.token, Token::RBrace | Token::SemiColon) {
                        break;
                    }
                }
                let at = At::new(start, end);
                let value = in_text(slice(text, at), env, &mut |message| complain(at, message));
                out.push(TokenWithSpan::new(whole_token(value), at));
            }
            _ => out.push(token),
        }
    }
    if out.last().is_none_or(|last| last.token != Token::SemiColon) {
        out.push(end_after(&out));
    }
    out
}

/// A value that stands alone: a number, a truth value, or text.
fn whole_token(value: String) -> Token {
    let numeric = value.parse::<f64>().is_ok_and(f64::is_finite)
        && value.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e' | 'E'));
    if numeric {
        Token::Number(value, false)
    } else if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") {
        Token::make_word(&value, None)
    } else {
        Token::SingleQuotedString(value)
    }
}

/// `text` with every `${NAME}` and `${NAME:-default}` replaced; `$${` stands for `${`.
fn in_text(text: &str, env: &Env<'_>, complain: &mut dyn FnMut(String)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start]);
            out.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            complain("expected } after ${".to_owned());
            return out;
        };
        let inside = &rest[start + 2..start + length];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name.trim(), Some(default)),
            None => (inside.trim(), None),
        };
        let valid = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !valid {
            complain(format!("expected the name of a variable in ${{…}}, found \"{name}\""));
        } else if let Some(value) = env(name).filter(|value| !value.is_empty()).or(default.map(str::to_owned)) {
            out.push_str(&value);
        } else {
            complain(format!("the environment variable {name} is not set"));
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let env = |name: &str| match name {
            "N" => Some("4".to_owned()),
            "EVIL" => Some("x'; DROP TABLE t; --".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut found = Vec::new();
        let file = SourceFile { path: "t.sql".into(), text: text.into() };
        let tokens = statements(&file, Some(&env), &mut found);
        let tokens = tokens.iter().map(|s| s.tokens.iter().map(|t| t.token.to_string()).collect()).collect();
        (tokens, found.iter().map(|d| format!("{} {}:{}", d.message, d.span.line, d.span.column)).collect())
    }

    #[test]
    fn splits_at_semicolons_outside_of_strings_and_comments() {
        let (statements, found) = lex("a 'x;y' -- c;d\n; /* ; */ ;; b");
        assert_eq!(statements, [vec!["a", "'x;y'", ";"], vec!["b", ";"]]);
        assert!(found.is_empty());
    }

    #[test]
    fn values_go_into_strings_and_whole_tokens() {
        let (statements, found) =
            lex("a = ${N}, 'http://${HOST:-localhost}:${N}/' ${EMPTY:-yes} ${U:-http://a/b} '$${N}'");
        assert_eq!(
            statements[0],
            ["a", "=", "4", ",", "'http://localhost:4/'", "'yes'", "'http://a/b'", "'${N}'", ";"]
        );
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_value_never_changes_the_structure() {
        let (statements, _) = lex("SELECT ${EVIL}, '${EVIL}'");
        assert_eq!(statements.len(), 1);
        assert_eq!(statements[0].len(), 5);
    }

    #[test]
    fn missing_and_malformed_variables_are_reported_where_they_stand() {
        let (_, found) = lex("a ${NOPE}\n '${1x}' ${EMPTY}");
        assert_eq!(
            found,
            [
                "the environment variable NOPE is not set 1:3",
                "expected the name of a variable in ${…}, found \"1x\" 2:2",
                "the environment variable EMPTY is not set 2:10",
            ]
        );
    }

    #[test]
    fn an_open_quote_keeps_the_statements_before_it() {
        let (statements, found) = lex("a; b; c 'open");
        assert_eq!(statements, [["a", ";"], ["b", ";"]]);
        assert_eq!(found, ["this text does not end 1:9"]);
    }
}
