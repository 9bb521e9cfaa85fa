//! `console`: one JSON object a line on standard output, rows and alert events. At least once: what was printed before
//! a crash may be printed again.

mod encoding;
mod sink;
#[cfg(test)]
mod tests;

pub use self::sink::ConsoleSink;
use crate::connector::{Accepts, Connector, Guarantee};

pub(crate) static CONNECTOR: Connector = Connector {
    name: "console",
    summary: "one JSON object a line on standard output",
    guarantee: Guarantee::AtLeastOnce,
    accepts: Accepts::Rows,
    takes_updates: true,
    options: &[],
    check: |_, _| Vec::new(),
    open: |context| Ok(Box::new(ConsoleSink::new(context.name, std::io::stdout()))),
};
