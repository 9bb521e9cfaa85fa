//! Every mistake, as it is shown: one test each, with the whole rendering.

#![allow(clippy::unwrap_used)]

mod adhoc;
mod alerts;
mod declarations;
mod emit;
mod joins;
mod later;
mod names;
mod no_data;
mod over;
mod per_key;
mod queries;
mod row_windows;
mod sessions;
mod streams;
mod syntax;
mod views;
mod windows;

use thermocline_sql::{SourceFile, check, codes};

/// What every case can use: streams with and without a watermark, a table, sinks.
const BASE: &str = include_str!("base.sql");

/// The sources of these tests: what they show was produced.
const SHOWN: &[&str] = &[
    include_str!("adhoc.rs"),
    include_str!("alerts.rs"),
    include_str!("declarations.rs"),
    include_str!("emit.rs"),
    include_str!("joins.rs"),
    include_str!("later.rs"),
    include_str!("names.rs"),
    include_str!("no_data.rs"),
    include_str!("over.rs"),
    include_str!("per_key.rs"),
    include_str!("queries.rs"),
    include_str!("row_windows.rs"),
    include_str!("sessions.rs"),
    include_str!("streams.rs"),
    include_str!("syntax.rs"),
    include_str!("views.rs"),
    include_str!("windows.rs"),
];

/// Codes that no text can produce here.
const UNREACHABLE: &[&str] = &[
    "TC0312", // not given any more
    "TC0208", // found by the server
    "TC0210", // found by the server
    "TC0315", // found by the server
    "TC0398", // found by the server
    "TC0399", // a defect
    "TC0901", // not given any more
    "TC0902", // not given any more
    "TC0903", // not given any more
    "TC0904", // not given any more
    "TC0905", // not given any more
    "TC0906", // not given any more
    "TC0907", // not given any more
    "TC0910", // not given any more
];

/// All findings about `text`, rendered.
fn found(text: &str) -> String {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.to_owned() };
    let files = [file("base.sql", BASE), file("p.sql", text)];
    let checked = check(&files, &|_| None);
    let errors = checked.diagnostics.iter().any(thermocline_sql::Diagnostic::is_error);
    assert_eq!(checked.pipeline.is_none(), errors);
    let rendered: Vec<String> = checked.diagnostics.iter().map(|diagnostic| diagnostic.render(&files)).collect();
    rendered.join("\n")
}

#[test]
fn the_base_is_sound() {
    assert_eq!(found(""), "");
}

#[test]
fn every_code_is_produced() {
    let missing: Vec<&str> = codes()
        .map(|(code, _)| code)
        .filter(|code| !UNREACHABLE.contains(code))
        .filter(|code| !SHOWN.iter().any(|text| text.contains(&format!("[{code}]"))))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_list_of_codes_is_documented() {
    let documented = include_str!("../../../docs/errors.md");
    let listed: Vec<&str> = documented.lines().filter(|line| line.starts_with("| TC")).collect();
    let expected: Vec<String> = codes().map(|(code, doc)| format!("| {code} | {doc} |")).collect();
    assert_eq!(listed, expected);
}
