//! `docs/functions.md` answers as it says: its rows, then every query of its `console` blocks.
//!
//! `THERMOCLINE_BLESS=1` writes what was found into the page, to be read before it is committed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;

use arrow::csv::ReaderBuilder;
use arrow::util::pretty::pretty_format_batches;
use common::Pipeline;

/// The text between the fences of the first block of a kind.
fn block<'a>(page: &'a str, kind: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_answers_as_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/functions.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut pipeline = Pipeline::new(block(&page, "sql"));
    let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
    let rows = ReaderBuilder::new(schema).with_header(true).build(block(&page, "csv").as_bytes()).unwrap();
    for batch in rows {
        pipeline.append_batch("readings", batch.unwrap()).await.unwrap();
    }
    pipeline.settle().await;
    pipeline.finish_queries().await.unwrap();

    let mut found = String::new();
    let mut in_console = false;
    let mut queries = 0;
    for line in page.lines() {
        match line.strip_prefix("> ") {
            _ if line.starts_with("```") => in_console = line == "```console",
            Some(query) if in_console => {
                let rows = pipeline.try_query(query).await.unwrap_or_else(|error| panic!("{query}\n{error}"));
                found += &format!("{line}\n{}\n", pretty_format_batches(&rows).unwrap());
                queries += 1;
                continue;
            }
            _ if in_console => continue,
            _ => {}
        }
        found += &format!("{line}\n");
    }
    assert!(queries > 12, "{queries} queries found");
    if std::env::var_os("THERMOCLINE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    } else {
        let differs = || page.lines().zip(found.lines()).find(|(written, found)| written != found);
        assert!(page == found, "docs/functions.md: {:?}", differs());
    }
}
