//! `WITH (key = value, …)`

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Parsed, Words};
use crate::ast::OptionDef;
use crate::codes;
use crate::pipeline::OptionValue;

/// The options, if `WITH` is next.
pub(super) fn with_options(words: &mut Words<'_>) -> Parsed<Vec<OptionDef>> {
    let mut options = Vec::new();
    if !words.take("WITH") {
        return Ok(options);
    }
    words.expect_token(&Token::LParen, "after WITH")?;
    if words.take_token(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let option = option(words)?;
        if options.iter().any(|other: &OptionDef| other.key == option.key) {
            let message = format!("the option \"{}\" is given twice", option.key);
            let diagnostic = words.diagnostic(codes::OPTION_TWICE, option.key_at, message);
            words.note(diagnostic);
        }
        options.push(option);
        if words.take_token(&Token::RParen) {
            return Ok(options);
        }
        words.expect_token(&Token::Comma, "or \")\" after an option")?;
        if words.take_token(&Token::RParen) {
            return Ok(options);
        }
    }
}

/// `key = value`; a key may be quoted, or dotted.
fn option(words: &mut Words<'_>) -> Parsed<OptionDef> {
    let start = words.start();
    let key = match words.peek().token.clone() {
        Token::SingleQuotedString(key) => {
            words.parser.advance_token();
            key
        }
        _ => {
            let mut key = words.name("the name of an option")?.value;
            while words.take_token(&Token::Period) {
                key.push('.');
                key.push_str(&words.name("the rest of the option's name")?.value);
            }
            key
        }
    };
    let key_at = words.since(start);
    words.expect_token(&Token::Eq, "after the option's name")?;
    let start = words.start();
    let value = value(words)?;
    Ok(OptionDef { key: key.to_lowercase(), key_at, value, value_at: words.since(start) })
}

fn value(words: &mut Words<'_>) -> Parsed<OptionValue> {
    if words.take("SECRET") {
        words.expect_token(&Token::LParen, "after secret")?;
        let name = text(words, "the secret's name, in single quotes")?;
        words.expect_token(&Token::RParen, "after the secret's name")?;
        return Ok(OptionValue::Secret(name));
    }
    for truth in ["true", "false"] {
        if words.take(truth) {
            return Ok(OptionValue::Literal(truth.to_owned()));
        }
    }
    words.take("INTERVAL");
    let minus = if words.take_token(&Token::Minus) { "-" } else { "" };
    if let Token::Number(number, _) = words.peek().token.clone() {
        words.parser.advance_token();
        return Ok(OptionValue::Literal(format!("{minus}{number}")));
    }
    text(words, "text in single quotes, a number, TRUE, FALSE or secret('NAME')").map(OptionValue::Literal)
}

fn text(words: &mut Words<'_>, what: &str) -> Parsed<String> {
    match words.peek().clone() {
        TokenWithSpan { token: Token::SingleQuotedString(text), .. } => {
            words.parser.advance_token();
            Ok(text)
        }
        TokenWithSpan { token: Token::Word(word), .. } => {
            let hint = format!("text stands in single quotes: '{}'", word.value);
            Err(words.unexpected(format!("expected {what}")).hint(hint).into())
        }
        _ => Err(words.unexpected(format!("expected {what}")).into()),
    }
}
