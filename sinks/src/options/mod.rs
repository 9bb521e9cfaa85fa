//! Options of connectors, declared once: validation, error texts, suggestions and the tables of `docs/sinks.md` all
//! come from the same [`OptionSpec`]s.

mod docs;
mod duration;
mod parse;
mod spec;
#[cfg(test)]
mod tests;

pub use self::docs::options_markdown;
pub(crate) use self::parse::{Mismatch, closest, did_you_mean};
pub use self::parse::{OptionProblem, OptionValues};
pub use self::spec::{OptionKind, OptionSpec};
