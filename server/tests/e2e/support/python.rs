//! Clients of what was written, in a process of their own: DuckDB and deltalake.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::process::json_lines;
use super::wait::within;

/// Runs a script of this folder's `python/` and returns the JSON lines it prints.
pub async fn python(script: &str, arguments: &[&Path]) -> Vec<Value> {
    let interpreter = interpreter();
    assert!(
        interpreter.exists(),
        "expected a Python with DuckDB and deltalake at {}: run scripts/install-test-tools, or set THERMOCLINE_PYTHON",
        interpreter.display()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python").join(script);
    let mut command = tokio::process::Command::new(interpreter);
    command.arg(path).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(script, command.output()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{errors}", output.status);
    json_lines(&String::from_utf8(output.stdout).unwrap())
}

fn interpreter() -> PathBuf {
    match std::env::var_os("THERMOCLINE_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/thermocline/venv/bin/python"),
    }
}
