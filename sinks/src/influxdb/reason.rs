//! What a server says of lines that it did not take. Where the text says nothing that is known here, the sink finds
//! the lines by halving; nothing is decided by these texts alone that a wrong guess could lose.

/// The message within `{"error": "…"}` (version 1) or `{"code": …, "message": "…"}` (version 2).
pub(super) fn message(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let field = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
    field("error").or_else(|| field("message")).unwrap_or_else(|| body.trim().to_owned())
}

/// Those of the lines that are quoted as `unable to parse '<line>'`.
pub(super) fn quoted_lines(message: &str, lines: &[&str]) -> Vec<usize> {
    if !message.contains("unable to parse") {
        return Vec::new();
    }
    let is_quoted = |line: &str| message.contains(&format!("unable to parse '{line}'"));
    lines.iter().enumerate().filter(|(_, line)| is_quoted(line)).map(|(index, _)| index).collect()
}

/// How many lines a partial write dropped: `… dropped=3`.
pub(super) fn dropped(message: &str) -> Option<usize> {
    let (_, count) = message.rsplit_once("dropped=")?;
    count.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
