//! The name that was probably meant.

/// The closest of `known` to `name`, where it is close enough to be a slip of the finger.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let limit = match name.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        // Of two at the same distance, the one that begins alike.
        .min_by(|a, b| {
            let likeness = |candidate: &str| strsim::jaro_winkler(&name, &candidate.to_lowercase());
            a.0.cmp(&b.0).then_with(|| likeness(b.1).total_cmp(&likeness(a.1)))
        })
        .map(|(_, candidate)| candidate)
}

/// `did you mean "…"?`, or the names there are when there are few.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(name, known.iter().copied()) {
        Some(close) => Some(format!("did you mean \"{close}\"?")),
        None if known.is_empty() || known.len() > 12 => None,
        None => Some(format!("there is {}", list(&known))),
    }
}

/// `a, b and c`
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found_and_far_ones_are_not() {
        assert_eq!(closest("temprature", ["pressure", "temperature"]), Some("temperature"));
        assert_eq!(closest("Sum", ["sum", "avg"]), Some("sum"));
        assert_eq!(closest("xy", ["a", "temperature"]), None);
        assert_eq!(hint("zzzzzz", ["a", "b", "c"]).as_deref(), Some("there is a, b and c"));
        assert_eq!(hint("zzzzzz", []), None);
    }
}
