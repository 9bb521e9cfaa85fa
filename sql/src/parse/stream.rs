//! `CREATE STREAM` and `CREATE TABLE`.

use sqlparser::ast::Ident;
use sqlparser::tokenizer::{Location, Span as At, Token};

use super::options::with_options;
use super::{Parsed, Words};
use crate::ast::{ColumnDef, CreateStream, CreateTable, MetadataFrom, Per, Watermark};
use crate::codes;

/// Constraints of other databases' columns.
const CONSTRAINTS: [&str; 9] =
    ["DEFAULT", "UNIQUE", "CHECK", "REFERENCES", "GENERATED", "COLLATE", "CONSTRAINT", "COMMENT", "FOREIGN"];

/// What stands between the parentheses.
#[derive(Default)]
struct Columns {
    columns: Vec<ColumnDef>,
    watermark: Option<Watermark>,
    primary_key: Vec<Ident>,
    primary_key_at: Option<At>,
}

/// After `CREATE STREAM`.
pub(super) fn create_stream(words: &mut Words<'_>) -> Parsed<CreateStream> {
    let name = words.declared("the stream's name")?;
    let Columns { columns, watermark, primary_key_at, .. } = columns(words)?;
    let keys = columns.iter().filter_map(|column| column.primary_key).chain(primary_key_at);
    for at in keys.collect::<Vec<_>>() {
        let diagnostic = words.diagnostic(codes::CONSTRAINT, at, "a stream has no primary key");
        words.note(diagnostic.hint("rows of a stream are never replaced; PARTITION BY places rows by a key"));
    }
    let mut partition_by = Vec::new();
    if words.is_all(&["PARTITION", "BY"]) || words.is_all(&["PARTITIONED", "BY"]) {
        words.parser.advance_token();
        words.expect("BY")?;
        partition_by = if words.peek().token == Token::LParen {
            words.names("a column's name")?
        } else {
            vec![words.name("a column's name")?]
        };
    }
    let options = with_options(words)?;
    Ok(CreateStream { name, columns, watermark, partition_by, options })
}

/// After `CREATE TABLE`.
pub(super) fn create_table(words: &mut Words<'_>) -> Parsed<CreateTable> {
    let name = words.declared("the table's name")?;
    let Columns { columns, watermark, primary_key, .. } = columns(words)?;
    if let Some(watermark) = watermark {
        let message = "a reference table has no watermark";
        let diagnostic = words.diagnostic(codes::CONSTRAINT, watermark.column.span, message);
        words.note(diagnostic.hint("rows that arrive over time belong into a stream: CREATE STREAM"));
    }
    let options = with_options(words)?;
    Ok(CreateTable { name, columns, primary_key, options })
}

fn columns(words: &mut Words<'_>) -> Parsed<Columns> {
    let mut out = Columns::default();
    words.expect_token(&Token::LParen, "and the columns")?;
    loop {
        if words.is_all(&["WATERMARK", "FOR"]) {
            words.once(&out.watermark, "WATERMARK")?;
            out.watermark = Some(watermark(words)?);
        } else if words.is_all(&["PRIMARY", "KEY"]) {
            let start = words.start();
            words.take_all(&["PRIMARY", "KEY"]);
            out.primary_key = words.names("a column's name")?;
            out.primary_key_at = Some(words.since(start));
        } else {
            out.columns.push(column(words)?);
        }
        if words.take_token(&Token::RParen) {
            return Ok(out);
        }
        words.expect_token(&Token::Comma, "or \")\" after a column")?;
        if words.take_token(&Token::RParen) {
            return Ok(out);
        }
    }
}

/// `name TYPE [NOT NULL] [PRIMARY KEY] [METADATA FROM '…']`
fn column(words: &mut Words<'_>) -> Parsed<ColumnDef> {
    let name = words.name("a column's name, WATERMARK FOR or PRIMARY KEY")?;
    if matches!(words.peek().token, Token::Comma | Token::RParen) {
        return Err(words.unexpected(format!("expected the type of \"{}\"", name.value)).into());
    }
    let start = words.start();
    let data_type = words.parser.parse_data_type()?;
    let type_at = words.since(start);
    let mut column = ColumnDef { name, data_type, type_at, not_null: false, primary_key: None, metadata: None };
    loop {
        let start = words.start();
        if words.take_all(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if words.take("NULL") {
            column.not_null = false;
        } else if words.take_all(&["PRIMARY", "KEY"]) {
            column.not_null = true;
            column.primary_key = Some(words.since(start));
        } else if words.is("METADATA") {
            words.once(&column.metadata, "METADATA")?;
            words.take("METADATA");
            column.metadata = Some(metadata(words, &column.name, start)?);
        } else if CONSTRAINTS.iter().any(|constraint| words.is(constraint)) {
            let message = "a column takes NOT NULL, and in a reference table PRIMARY KEY";
            return Err(words.unexpected_as(codes::CONSTRAINT, message).into());
        } else {
            return Ok(column);
        }
    }
}

/// After `METADATA`: `FROM 'key'`, or nothing.
fn metadata(words: &mut Words<'_>, column: &Ident, start: Location) -> Parsed<MetadataFrom> {
    if !words.take("FROM") {
        return Ok(MetadataFrom { key: column.value.clone(), key_at: words.since(start) });
    }
    let start = words.start();
    let Token::SingleQuotedString(key) = words.peek().token.clone() else {
        return Err(words.unexpected("expected what the column is, as METADATA FROM 'timestamp'").into());
    };
    words.parser.advance_token();
    Ok(MetadataFrom { key, key_at: words.since(start) })
}

/// `WATERMARK FOR ts AS ts - INTERVAL '…' [PER key]`
fn watermark(words: &mut Words<'_>) -> Parsed<Watermark> {
    words.take_all(&["WATERMARK", "FOR"]);
    let column = words.name("the event-time column")?;
    words.expect("AS")?;
    let clause = words.clause()?;
    let start = words.start();
    let per = match words.take("PER") {
        true => {
            let columns = match words.peek().token {
                Token::LParen => words.names("a column's name")?,
                _ => vec![words.name("a column's name")?],
            };
            Some(Per { columns, at: words.since(start) })
        }
        false => None,
    };
    Ok(Watermark { column, expr: clause.expr, expr_at: clause.at, per })
}
