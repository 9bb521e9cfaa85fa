//! The tables of `docs/sinks.md`.

use std::fmt::Write as _;

use super::spec::OptionSpec;

/// Options as a Markdown table.
#[must_use]
pub fn options_markdown(options: &[OptionSpec]) -> String {
    if options.is_empty() {
        return "No options.\n".to_owned();
    }
    let mut table = String::from("| option | takes | default | meaning |\n| --- | --- | --- | --- |\n");
    for option in options {
        let default = match (option.required, option.default) {
            (true, _) => "required".to_owned(),
            (false, Some(default)) => format!("`{default}`"),
            (false, None) => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{}` | {} | {default} | {} |", option.name, option.kind, option.doc);
    }
    table
}
