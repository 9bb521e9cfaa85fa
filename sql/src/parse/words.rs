//! Reading a statement word by word.

use std::path::PathBuf;
use std::sync::Arc;

use sqlparser::ast::{Ident, Visit};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span as At, Token, TokenWithSpan};

use super::{Failure, Parsed, parser};
use crate::ast::Clause;
use crate::bounds;
use crate::codes::{self, Code};
use crate::diagnostic::Diagnostic;
use crate::lex::is_word;
use crate::source::Span;

/// The tokens of a statement, with a cursor.
pub(crate) struct Words<'a> {
    pub(super) parser: Parser<'static>,
    file: &'a Arc<PathBuf>,
    noted: Vec<Diagnostic>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(tokens: &[TokenWithSpan], file: &'a Arc<PathBuf>) -> Self {
        Self { parser: parser(tokens), file, noted: Vec::new() }
    }

    /// Mistakes after which reading went on.
    pub(super) fn into_noted(self) -> Vec<Diagnostic> {
        self.noted
    }

    /// A mistake after which reading goes on.
    pub(super) fn note(&mut self, diagnostic: Diagnostic) {
        self.noted.push(diagnostic);
    }

    pub(crate) fn peek(&self) -> &TokenWithSpan {
        self.parser.peek_token_ref()
    }

    /// Whether the next token is this word, in any case and not quoted.
    pub(crate) fn is(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    /// Whether the next tokens are these words.
    pub(crate) fn is_all(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| is_word(self.parser.peek_nth_token_ref(n), word))
    }

    /// Steps over this word if it is next.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let next = self.is(word);
        if next {
            self.parser.advance_token();
        }
        next
    }

    /// Steps over these words if they are next.
    pub(crate) fn take_all(&mut self, words: &[&str]) -> bool {
        let next = self.is_all(words);
        if next {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        next
    }

    pub(crate) fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(self.unexpected(format!("expected {word}")).into()) }
    }

    pub(crate) fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(crate) fn expect_token(&mut self, token: &Token, why: &str) -> Parsed<()> {
        if self.take_token(token) {
            Ok(())
        } else {
            Err(self.unexpected(format!("expected \"{token}\" {why}").trim_end()).into())
        }
    }

    /// A name: an unquoted or double-quoted word.
    pub(crate) fn name(&mut self, what: &str) -> Parsed<Ident> {
        let TokenWithSpan { token, span } = self.peek().clone();
        match token {
            Token::Word(word) if word.quote_style.is_none_or(|quote| quote == '"') => {
                self.parser.advance_token();
                Ok(word.into_ident(span))
            }
            _ => Err(self.unexpected(format!("expected {what}")).into()),
        }
    }

    /// The name of something declared: not qualified, not preceded by `IF NOT EXISTS`.
    pub(crate) fn declared(&mut self, what: &str) -> Parsed<Ident> {
        if self.is_all(&["IF", "NOT", "EXISTS"]) {
            let hint = "leave IF NOT EXISTS out";
            return Err(self.unexpected("a pipeline declares each name once").hint(hint).into());
        }
        let name = self.name(what)?;
        if self.peek().token == Token::Period {
            return Err(self.unexpected(format!("{what} has no schema in front")).into());
        }
        Ok(name)
    }

    /// `(name, name, …)`
    pub(crate) fn names(&mut self, what: &str) -> Parsed<Vec<Ident>> {
        self.expect_token(&Token::LParen, "")?;
        let mut names = vec![self.name(what)?];
        while self.take_token(&Token::Comma) {
            names.push(self.name(what)?);
        }
        self.expect_token(&Token::RParen, "")?;
        Ok(names)
    }

    /// An expression, and where it stands.
    pub(crate) fn clause(&mut self) -> Parsed<Clause> {
        let start = self.start();
        let expr = self.parser.parse_expr()?;
        self.bounded(&expr, start)?;
        Ok(Clause { expr, at: self.since(start) })
    }

    /// An error if this tree, read from `start` on, is too deep.
    pub(super) fn bounded(&self, ast: &impl Visit, start: Location) -> Parsed<()> {
        if bounds::is_bounded(ast) {
            return Ok(());
        }
        let at = At::new(start, Location::new(start.line, start.column + 1));
        Err(self.diagnostic(codes::TOO_DEEP, at, "what begins here is nested too deeply").into())
    }

    /// Nothing but the closing `;`.
    pub(crate) fn end(&mut self) -> Parsed<()> {
        match &self.peek().token {
            Token::SemiColon | Token::EOF => Ok(()),
            _ if self.is("CREATE") || self.is("INSERT") => {
                Err(self.unexpected("expected \";\" before the next statement").into())
            }
            _ => Err(self.unexpected("expected the end of the statement").into()),
        }
    }

    /// Where the next token starts.
    pub(crate) fn start(&self) -> Location {
        self.peek().span.start
    }

    /// From `start` to the end of the last token that was read.
    pub(crate) fn since(&self, start: Location) -> At {
        let end = self.parser.get_current_token().span.end;
        At::new(start, if end < start { start } else { end })
    }

    pub(crate) fn diagnostic(&self, code: Code, at: At, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, Span::new(self.file, at), message)
    }

    /// The next token is not what should be there.
    pub(crate) fn unexpected(&self, message: impl Into<String>) -> Diagnostic {
        self.unexpected_as(codes::SYNTAX, message)
    }

    pub(crate) fn unexpected_as(&self, code: Code, message: impl Into<String>) -> Diagnostic {
        let next = self.peek();
        let label = match &next.token {
            Token::SemiColon | Token::EOF => "found the end of the statement".to_owned(),
            other => format!("found {other}"),
        };
        self.diagnostic(code, next.span, message).label(label)
    }

    /// A clause that may stand once.
    pub(crate) fn once<T>(&self, slot: &Option<T>, name: &str) -> Result<(), Failure> {
        match slot {
            None => Ok(()),
            Some(_) => Err(self.unexpected_as(codes::CLAUSE, format!("{name} is given twice")).label("").into()),
        }
    }
}

/// The name as it is looked up: in lower case unless it was quoted, as in PostgreSQL.
pub(crate) fn normalized(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}
