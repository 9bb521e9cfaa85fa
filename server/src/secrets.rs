//! Secrets: values that pipelines name and never hold.

use std::path::PathBuf;

/// The value of `secret('NAME')`: the environment variable `NAME`, or the content of the file that `NAME_FILE` names,
/// without the line break at its end.
///
/// # Errors
/// The file cannot be read.
pub fn resolve(name: &str, env: &dyn Fn(&str) -> Option<String>) -> std::io::Result<Option<String>> {
    if let Some(value) = env(name) {
        return Ok(Some(value));
    }
    let Some(path) = env(&format!("{name}_FILE")).map(PathBuf::from) else { return Ok(None) };
    let text = std::fs::read_to_string(path)?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_comes_before_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "from the file\n").unwrap();
        let file = path.to_string_lossy().into_owned();
        let only_file = |name: &str| (name == "KEY_FILE").then(|| file.clone());
        assert_eq!(resolve("KEY", &only_file).unwrap().as_deref(), Some("from the file"));
        let both = |name: &str| if name == "KEY" { Some("direct".to_owned()) } else { only_file(name) };
        assert_eq!(resolve("KEY", &both).unwrap().as_deref(), Some("direct"));
        assert_eq!(resolve("OTHER", &both).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_missing_is_an_error() {
        let env = |name: &str| (name == "KEY_FILE").then(|| "/nonexistent/key".to_owned());
        assert!(resolve("KEY", &env).is_err());
    }
}
