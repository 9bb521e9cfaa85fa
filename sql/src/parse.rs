//! One statement's tokens become a [`Statement`].
//!
//! The frame of the dialect's statements is read here word by word; queries, expressions and types by sqlparser's own
//! parser, over the same tokens. A mistake that sqlparser finds comes without its place: see [`locate`].

mod alert;
mod options;
mod query;
mod stream;
mod window;
mod words;

use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::{Kind, Statement};
use crate::bounds;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lex::StatementTokens;
use crate::source::Span;

pub(crate) use window::plain_window_calls;
pub(crate) use words::{Words, normalized};

/// The words after `CREATE` that this dialect has.
pub(crate) const KINDS: [&str; 7] = ["STREAM", "SOURCE", "TABLE", "VIEW", "SINK", "ALERT", "MATERIALIZED"];

/// Why a statement could not be read.
pub(crate) enum Failure {
    /// Found by this crate, with its place.
    Found(Box<Diagnostic>),
    /// Found by sqlparser.
    Parser(ParserError),
}

impl From<ParserError> for Failure {
    fn from(error: ParserError) -> Self {
        Self::Parser(error)
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Found(Box::new(diagnostic))
    }
}

pub(crate) type Parsed<T> = Result<T, Failure>;

/// Reads one statement; mistakes go to `found`. `None` when it cannot be read at all.
pub(crate) fn statement(tokens: &StatementTokens, found: &mut Vec<Diagnostic>) -> Option<Statement> {
    bounds::with_room(|| read_statement(tokens, found))
}

fn read_statement(tokens: &StatementTokens, found: &mut Vec<Diagnostic>) -> Option<Statement> {
    let read = |list: &[TokenWithSpan]| {
        let mut words = Words::new(list, &tokens.file);
        let kind = kind(&mut words).and_then(|kind| words.end().map(|()| kind));
        (kind, words.into_noted())
    };
    let (kind, noted) = read(&tokens.tokens);
    found.extend(noted);
    match kind {
        Ok(kind) => {
            let StatementTokens { file, tokens: list, sql } = tokens.clone();
            Some(Statement { kind, file, at: tokens.at(), sql, tokens: list })
        }
        Err(Failure::Found(diagnostic)) => {
            found.push(*diagnostic);
            None
        }
        Err(Failure::Parser(error)) => {
            found.push(locate(tokens, &error, |list| match read(list).0 {
                Err(Failure::Parser(error)) => Some(error),
                _ => None,
            }));
            None
        }
    }
}

/// The name that a statement declares, as far as it can be told from its first words.
pub(crate) fn declared_name(tokens: &StatementTokens) -> Option<String> {
    let mut words = Words::new(&tokens.tokens, &tokens.file);
    words.take("CREATE").then_some(())?;
    words.take("MATERIALIZED");
    KINDS.iter().any(|kind| words.take(kind)).then_some(())?;
    words.name("a name").ok().map(|name| normalized(&name))
}

fn kind(words: &mut Words<'_>) -> Parsed<Kind> {
    if words.take("CREATE") {
        return create(words);
    }
    if words.take("INSERT") {
        return query::insert(words).map(Kind::Insert);
    }
    let diagnostic = words.unexpected_as(codes::STATEMENT, "a pipeline has no such statement");
    Err(if words.is("SELECT") || words.is("WITH") {
        diagnostic.hint("say where its rows go: INSERT INTO target SELECT …, or run it with `thermocline sql`").into()
    } else {
        diagnostic.hint("a pipeline has CREATE STREAM, TABLE, VIEW, SINK or ALERT, and INSERT INTO … SELECT").into()
    })
}

fn create(words: &mut Words<'_>) -> Parsed<Kind> {
    if words.is_all(&["OR", "REPLACE"]) {
        return Err(words.unexpected("a pipeline declares each name once").hint("leave OR REPLACE out").into());
    }
    if words.take("STREAM") || words.take("SOURCE") {
        stream::create_stream(words).map(|stream| Kind::Stream(Box::new(stream)))
    } else if words.take("TABLE") {
        stream::create_table(words).map(Kind::Table)
    } else if words.take("VIEW") {
        query::create_view(words).map(Kind::View)
    } else if words.take("MATERIALIZED") {
        words.expect("VIEW")?;
        query::create_materialized_view(words).map(Kind::MaterializedView)
    } else if words.take("SINK") {
        query::create_sink(words).map(Kind::Sink)
    } else if words.take("ALERT") {
        alert::create_alert(words).map(|alert| Kind::Alert(Box::new(alert)))
    } else {
        let kinds = ["STREAM", "TABLE", "VIEW", "SINK", "ALERT"];
        let hint = crate::suggest::hint(&words.peek().token.to_string(), kinds);
        Err(words.unexpected_as(codes::STATEMENT, "a pipeline cannot create this").hint_opt(hint).into())
    }
}

/// A parser over tokens that need not end in anything.
pub(crate) fn parser(tokens: &[TokenWithSpan]) -> Parser<'static> {
    Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens.to_vec())
}

/// A diagnostic for a mistake that sqlparser found in `tokens`.
///
/// Its errors carry no place. But reading a prefix of the tokens gives the very same error if, and only if, the prefix
/// reaches the token at fault: the last token of the shortest such prefix is the place.
pub(crate) fn locate(
    tokens: &StatementTokens,
    error: &ParserError,
    read: impl Fn(&[TokenWithSpan]) -> Option<ParserError>,
) -> Diagnostic {
    let (mut low, mut high) = (0, tokens.tokens.len());
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if read(&tokens.tokens[..middle]).as_ref() == Some(error) {
            high = middle;
        } else {
            low = middle;
        }
    }
    let token = &tokens.tokens[high.saturating_sub(1)];
    if matches!(error, ParserError::RecursionLimitExceeded) {
        let message = "the statement is nested too deeply";
        return Diagnostic::error(codes::TOO_DEEP, Span::new(&tokens.file, token.span), message);
    }
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => String::new(),
    };
    // The parser appends the place it knows to its text.
    let text = text.strip_suffix(&token.span.start.to_string()).unwrap_or(&text);
    let message = match &token.token {
        Token::SemiColon => "the statement ends too early".to_owned(),
        other => format!("syntax error at \"{other}\""),
    };
    let mut label: String = text.to_owned();
    if let Some(first) = label.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    Diagnostic::error(codes::SYNTAX, Span::new(&tokens.file, token.span), message).label(label)
}
