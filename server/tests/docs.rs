//! Every SQL snippet of the documentation is a pipeline that checks clean.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// The fenced `sql` blocks of a file, with the line each begins at.
fn snippets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut block {
            None if line.trim() == "```sql" => block = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => found.extend(block.take()),
            Some((_, text)) => *text = format!("{text}{line}\n"),
        }
    }
    found
}

#[tokio::test]
async fn every_sql_snippet_checks_clean() {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let files = docs.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md"));
    let mut checked = 0;
    for path in files {
        for (line, text) in snippets(&std::fs::read_to_string(&path).unwrap()) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("snippet.sql"), &text).unwrap();
            let (_, findings) = thermocline::load(dir.path(), &|_| None).await.unwrap();
            assert_eq!(findings.errors(), 0, "{}:{line}\n{}", path.display(), findings.render());
            checked += 1;
        }
    }
    assert!(checked > 3, "{checked} snippets found");
}

/// The readme shows what a misspelt column in its own pipeline is answered with.
#[tokio::test]
async fn the_readmes_diagnostic_is_the_real_one() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, pipeline) = snippets(&readme).remove(0);
    let dir = tempfile::tempdir().unwrap();
    let misspelt = pipeline.replace("max(temperature) AS peak", "max(temprature) AS peak");
    assert_ne!(misspelt, pipeline);
    std::fs::write(dir.path().join("hot.sql"), misspelt).unwrap();
    let (_, findings) = thermocline::load(dir.path(), &|_| None).await.unwrap();
    let found = findings.render().replace(&dir.path().display().to_string(), "plant");
    assert!(readme.contains(&format!("```text\n{}\n```", found.trim_end())), "{found}");
}
