//! `CREATE ALERT`

use super::query::body;
use super::{Parsed, Words};
use crate::ast::{Clause, CreateAlert};
use crate::codes;

/// The clauses between the name and `AS`, in any order.
#[derive(Default)]
struct Clauses {
    sink: Option<sqlparser::ast::Ident>,
    key: Option<Vec<sqlparser::ast::Ident>>,
    raise: Option<Clause>,
    hold: Option<Clause>,
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
    let Clauses { sink, key, raise, hold, clear, severity, summary } = clauses;
    let missing = |what: &str, hint: &str| {
        let message = format!("the alert \"{}\" has no {what}", name.value);
        words.diagnostic(codes::CLAUSE, name.span, message).hint(hint.to_owned())
    };
    let sink = sink.ok_or_else(|| missing("sink", "add TO and the name of a sink"))?;
    let raise = raise.ok_or_else(|| missing("condition", "add RAISE WHEN and a condition"))?;
    let key = key.unwrap_or_default();
    let query = body(words)?;
    Ok(CreateAlert { name, sink, key, raise, hold, clear, severity, summary, query })
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

/// `RAISE WHEN condition [FOR INTERVAL '…']`
fn raise(words: &mut Words<'_>, clauses: &mut Clauses) -> Parsed<()> {
    words.take("RAISE");
    words.expect("WHEN")?;
    if words.is_all(&["NO", "DATA", "FOR"]) {
        let start = words.start();
        words.take_all(&["NO", "DATA", "FOR"]);
        words.clause()?;
        let message = "RAISE WHEN NO DATA FOR is not supported yet";
        return Err(words.diagnostic(codes::SOON_NO_DATA, words.since(start), message).into());
    }
    clauses.raise = Some(words.clause()?);
    if words.take("FOR") {
        clauses.hold = Some(words.clause()?);
    }
    Ok(())
}
