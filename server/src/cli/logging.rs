//! Logs: readable lines on a terminal, JSON lines elsewhere, both on standard error; `THERMOCLINE_LOG` says what.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sets logging up for the process.
pub(crate) fn init(long_running: bool) {
    let terminal = std::io::stderr().is_terminal();
    // The progress display says on a terminal what the log says elsewhere.
    // Libraries below talk at `info` about what only matters to them.
    let default = if long_running && !terminal { "warn,thermocline=info" } else { "warn" };
    let filter = EnvFilter::try_from_env("THERMOCLINE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if terminal || !long_running {
        builder.compact().init();
    } else {
        builder.json().init();
    }
}
