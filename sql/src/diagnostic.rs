//! What is wrong, where, and what would help; and how that is shown.

use std::fmt::Write as _;

use crate::codes::Code;
use crate::source::{SourceFile, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// It can run, but probably not as meant.
    Warning,
}

/// One finding about a pipeline's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, `TC0123`; `docs/errors.md` lists them.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The exact words.
    pub span: Span,
    /// What stands beside the caret; may be empty.
    pub label: String,
    /// What would help.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity: Severity::Error, code: code.id, message, span, label: String::new(), hint: None }
    }

    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Whether it keeps the pipeline from running.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// As text, in the style of rustc: the message, the place, the line with carets under the words, the hint.
    #[must_use]
    pub fn render(&self, files: &[SourceFile]) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = format!("{severity}[{}]: {}\n", self.code, self.message);
        let line = files
            .iter()
            .find(|file| file.path == *self.span.file)
            .and_then(|file| file.text.split('\n').nth(self.span.line.checked_sub(1)?));
        let width = self.span.line.to_string().len();
        let place = format!("{}:{}:{}", self.span.file.display(), self.span.line, self.span.column);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:width$}--> {place}", "");
        if let Some(line) = line {
            self.render_line(&mut out, line.trim_end_matches('\r'), width);
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "{:width$} = help: {hint}", "");
        }
        out
    }

    fn render_line(&self, out: &mut String, line: &str, width: usize) {
        let start = self.span.column.max(1);
        let line_end = line.chars().count() + 1;
        let end = if self.span.end_line > self.span.line { line_end } else { self.span.end_column };
        let carets = "^".repeat(end.min(line_end.max(start + 1)).saturating_sub(start).max(1));
        let indent: String = line.chars().map(|c| if c == '\t' { "    " } else { " " }).take(start - 1).collect();
        let _ = writeln!(out, "{:width$} |", "");
        let _ = writeln!(out, "{} | {}", self.span.line, line.replace('\t', "    "));
        let _ = writeln!(out, "{}", format!("{:width$} | {indent}{carets} {}", "", self.label).trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;
    use std::sync::Arc;

    fn span(line: usize, column: usize, end_line: usize, end_column: usize) -> Span {
        Span { file: Arc::new("p.sql".into()), line, column, end_line, end_column }
    }

    #[test]
    fn carets_stand_under_the_words_also_after_tabs_and_other_alphabets() {
        let files = [SourceFile { path: "p.sql".into(), text: "one\r\n\tä b\r\n".into() }];
        let diagnostic = Diagnostic::error(codes::SYNTAX, span(2, 4, 2, 5), "no b").label("here").hint("write c");
        insta::assert_snapshot!(diagnostic.render(&files), @r"
        error[TC0002]: no b
         --> p.sql:2:4
          |
        2 |     ä b
          |       ^ here
          = help: write c
        ");
    }

    #[test]
    fn a_span_over_lines_marks_the_first_and_an_unknown_file_shows_no_line() {
        let files = [SourceFile { path: "p.sql".into(), text: "SELECT 1\nFROM x".into() }];
        let text = Diagnostic::warning(codes::SYNTAX, span(1, 8, 2, 3), "w").render(&files);
        insta::assert_snapshot!(text, @r"
        warning[TC0002]: w
         --> p.sql:1:8
          |
        1 | SELECT 1
          |        ^
        ");
        assert_eq!(Diagnostic::error(codes::SYNTAX, span(9, 9, 9, 9), "w").render(&[]).lines().count(), 2);
    }
}
