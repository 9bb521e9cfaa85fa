//! `CREATE ALERT`

use sqlparser::tokenizer::Token;

use super::query::body;
use super::{Parsed, Words};
use crate::ast::{Body, Clause, CreateAlert, EmitClauses, NoData, Raise};
use crate::codes;

/// The clauses between the name and `AS`, in any order.
#[derive(Default)]
struct Clauses {
    sink: Option<sqlparser::ast::Ident>,
    key: Option<Vec<sqlparser::ast::Ident>>,
    raise: Option<Raise>,
    clear: Option<Clause>,
    severity: Option<Clause>,
    summary: Option<Clause>,
}

/// After `CREATE ALERT`.
pub(super) fn create_alert(words: &mut Words<'_>) -> Parsed<CreateAlert> {
    let name = words.declared("the alert's name")?;
    let mut clauses = Clauses::default();
    while !words.take("AS") {
        clause(words, &mut clauses)?;
    }
    let Clauses { sink, key, raise, clear, severity, summary } = clauses;
    let missing = |what: &str, hint: &str| {
        let message = format!("the alert \"{}\" has no {what}", name.value);
        words.diagnostic(codes::CLAUSE, name.span, message).hint(hint.to_owned())
    };
    let sink = sink.ok_or_else(|| missing("sink", "add TO and the name of a sink"))?;
    let raise = raise.ok_or_else(|| missing("condition", "add RAISE WHEN and a condition"))?;
    let key = key.unwrap_or_default();
    let query = body(words)?;
    Ok(CreateAlert { name, sink, key, raise, clear, severity, summary, query })
}

fn clause(words: &mut Words<'_>, clauses: &mut Clauses) -> Parsed<()> {
    if words.is("TO") {
        words.once(&clauses.sink, "TO")?;
        words.take("TO");
        clauses.sink = Some(words.declared("the name of a sink")?);
    } else if words.is("KEY") {
        words.once(&clauses.key, "KEY")?;
        words.take("KEY");
        clauses.key = Some(words.names("a column's name")?);
    } else if words.is("RAISE") {
        words.once(&clauses.raise, "RAISE WHEN")?;
        raise(words, clauses)?;
    } else if words.is("CLEAR") {
        words.once(&clauses.clear, "CLEAR WHEN")?;
        words.take("CLEAR");
        words.expect("WHEN")?;
        clauses.clear = Some(words.clause()?);
    } else if words.is("SEVERITY") {
        words.once(&clauses.severity, "SEVERITY")?;
        words.take("SEVERITY");
        clauses.severity = Some(words.clause()?);
    } else if words.is("SUMMARY") {
        words.once(&clauses.summary, "SUMMARY")?;
        words.take("SUMMARY");
        clauses.summary = Some(words.clause()?);
    } else {
        let expected = "expected TO, KEY, RAISE WHEN, CLEAR WHEN, SEVERITY, SUMMARY, or AS and a query";
        return Err(words.unexpected(expected).into());
    }
    Ok(())
}

/// `RAISE WHEN condition [FOR INTERVAL '…']`, or `RAISE WHEN NO DATA FOR …`
fn raise(words: &mut Words<'_>, clauses: &mut Clauses) -> Parsed<()> {
    words.take("RAISE");
    words.expect("WHEN")?;
    clauses.raise = Some(if words.take_all(&["NO", "DATA", "FOR"]) {
        Raise::NoData(Box::new(no_data(words)?))
    } else {
        let condition = Box::new(words.clause()?);
        let hold = if words.take("FOR") { Some(Box::new(words.clause()?)) } else { None };
        Raise::When { condition, hold }
    });
    Ok(())
}

/// After `NO DATA FOR`.
fn no_data(words: &mut Words<'_>) -> Parsed<NoData> {
    let mut no_data = NoData { interval: words.clause()?, expecting: None, forget: None };
    loop {
        if words.is("EXPECTING") {
            words.once(&no_data.expecting, "EXPECTING")?;
            words.take("EXPECTING");
            no_data.expecting = Some(expected(words)?);
        } else if words.is_all(&["FORGET", "AFTER"]) {
            words.once(&no_data.forget, "FORGET AFTER")?;
            words.take_all(&["FORGET", "AFTER"]);
            no_data.forget = Some(words.clause()?);
        } else {
            return Ok(no_data);
        }
    }
}

/// `(query)`
fn expected(words: &mut Words<'_>) -> Parsed<Body> {
    words.expect_token(&Token::LParen, "and a query over reference tables")?;
    let start = words.start();
    let query = words.parser.parse_query()?;
    words.bounded(&query, start)?;
    let at = words.since(start);
    words.expect_token(&Token::RParen, "after the query")?;
    Ok(Body { query, at, emit: EmitClauses::default() })
}
