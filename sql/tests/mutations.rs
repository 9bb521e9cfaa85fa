//! Whatever the text, checking it ends, says something, and points into the text.

use proptest::prelude::*;
use thermocline_sql::{Diagnostic, SourceFile, check};

const EXAMPLE: &str = include_str!("example.sql");

/// Words that mean something in one place or another.
const WORDS: [&str; 49] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "AS",
    "(",
    ")",
    ",",
    ";",
    "'",
    "\"",
    "--",
    "/*",
    "${X}",
    "${X:-1}",
    "$${",
    "'${",
    "CREATE",
    "STREAM",
    "TABLE",
    "ALERT",
    "SINK",
    "INSERT INTO",
    "WITH",
    "WATERMARK FOR",
    "RAISE WHEN",
    "FOR",
    "EMIT ON",
    "EMIT EVERY",
    "ALLOW LATENESS",
    "TIME ZONE",
    "TIME_ZONE =>",
    "CUMULATE(",
    "TUMBLE(",
    "HOP(",
    "INTERVAL",
    "NULL",
    "*",
    "=",
    "=>",
    "||",
    "ö",
    "\u{0}",
    "1e999",
    "-9223372036854775808",
    "JOIN",
    "OVER (",
    "UNION",
    "DISTINCT",
];

fn check_is_sane(text: &str) -> Result<(), TestCaseError> {
    let files = [SourceFile { path: "p.sql".into(), text: text.to_owned() }];
    let checked = check(&files, &|name| (name == "X").then(|| "x".to_owned()));
    prop_assert_eq!(checked.pipeline.is_none(), checked.diagnostics.iter().any(Diagnostic::is_error));
    let lines: Vec<&str> = text.split('\n').collect();
    for diagnostic in &checked.diagnostics {
        let span = &diagnostic.span;
        prop_assert!((1..=lines.len()).contains(&span.line), "{diagnostic:?}");
        // One past the end is where something is missing.
        prop_assert!((1..=lines[span.line - 1].chars().count() + 1).contains(&span.column), "{diagnostic:?}");
        prop_assert!((span.line, span.column) <= (span.end_line, span.end_column), "{diagnostic:?}");
        prop_assert!(diagnostic.render(&files).starts_with(['e', 'w']));
        prop_assert!(thermocline_sql::explain(diagnostic.code).is_some());
    }
    Ok(())
}

/// Places in the example, at word boundaries.
fn pieces() -> Vec<&'static str> {
    EXAMPLE.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn words_dropped_doubled_swapped_and_put_in(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(WORDS.to_vec())), 1..6)
    ) {
        let mut words = pieces();
        for (index, edit, word) in edits {
            let n = index.index(words.len());
            match edit {
                0 => { words.remove(n); }
                1 => words.insert(n, words[n]),
                2 => words.insert(n, word),
                _ => { let other = (n * 7 + 3) % words.len(); words.swap(n, other); }
            }
        }
        check_is_sane(&words.concat())?;
    }

    #[test]
    fn cut_anywhere(index in any::<prop::sample::Index>()) {
        let places: Vec<usize> = EXAMPLE.char_indices().map(|(n, _)| n).collect();
        check_is_sane(&EXAMPLE[..places[index.index(places.len())]])?;
    }

    #[test]
    fn any_words(words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..40)) {
        check_is_sane(&words.join(" "))?;
    }
}

#[test]
fn long_and_deep_expressions_end() {
    let base = "CREATE STREAM s (x INT);\nCREATE SINK k WITH (connector = 'console');\nINSERT INTO k SELECT ";
    for expr in [
        vec!["x"; 1_000].join(" + "),
        vec!["x > 1"; 1_000].join(" OR "),
        format!("{}x{}", "abs(".repeat(200), ")".repeat(200)),
        "- ".repeat(300) + "x",
        vec!["nope"; 600].join(" + "),
        format!("CASE {} END", "WHEN x > 1 THEN 2 ".repeat(1_000)),
        vec!["x"; 9_000].join(" + "),
        vec!["x"; 30_000].join(" || "),
        "x".to_owned() + &"::INT".repeat(6_000),
        format!("1 AS y FROM s{}; SELECT 1", " JOIN s AS t ON true".repeat(2_000)),
        format!("1 {}", "UNION ALL SELECT 1 ".repeat(3_000)),
        vec!["x + 1"; 150].join(" + "),
    ] {
        check_is_sane(&format!("{base}{expr} AS y FROM s;")).unwrap_or_else(|error| panic!("{error}"));
    }
}
