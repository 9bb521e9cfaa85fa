//! What an option is: its name, kind, default and one line of documentation.

use std::fmt;

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// Text that should come from `secret('NAME')`.
    Secret,
    /// An `http://` or `https://` address.
    Url,
    /// A path or a `file://` address.
    Location,
    /// `true` or `false`.
    Boolean,
    /// A duration such as `30 seconds`.
    Duration,
    /// A whole number within bounds.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A column of the rows.
    Column,
    /// Columns of the rows, separated by commas.
    Columns,
    /// A column of the rows, or `date`: the UTC date of the event time.
    PartitionColumn,
}

impl OptionKind {
    /// What is expected, for error texts.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Text | Self::Secret => "text that is not empty".into(),
            Self::Url => "an http:// or https:// address".into(),
            Self::Location => "a path or a file:// address".into(),
            Self::Boolean => "true or false".into(),
            Self::Duration => "a duration such as '30 seconds'".into(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Column => "a column of the rows".into(),
            Self::Columns => "columns of the rows, separated by commas".into(),
            Self::PartitionColumn => "a column of the rows, or date".into(),
        }
    }
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Secret => f.write_str("secret"),
            Self::Url => f.write_str("address"),
            Self::Location => f.write_str("path"),
            Self::Boolean => f.write_str("boolean"),
            Self::Duration => f.write_str("duration"),
            Self::Count { .. } => f.write_str("number"),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                f.write_str(&quoted.join(", "))
            }
            Self::Column | Self::PartitionColumn => f.write_str("column"),
            Self::Columns => f.write_str("columns"),
        }
    }
}

/// One option of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Name as written in `WITH (…)`.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// Whether it must be given.
    pub required: bool,
    /// Value where it is not given, as it would be written.
    pub default: Option<&'static str>,
    /// One line of documentation.
    pub doc: &'static str,
}

impl OptionSpec {
    /// An option that must be given.
    #[must_use]
    pub const fn required(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, required: true, default: None, doc }
    }

    /// An option that may be left out.
    #[must_use]
    pub const fn optional(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, required: false, default: None, doc }
    }

    /// An option with a default.
    #[must_use]
    pub const fn defaulted(name: &'static str, kind: OptionKind, default: &'static str, doc: &'static str) -> Self {
        Self { name, kind, required: false, default: Some(default), doc }
    }
}
