//! What `run` shows on a terminal: one block, redrawn every second.

use std::io::{IsTerminal, Write};

use thermocline::StatusReport;

/// The display; does nothing where there is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    shown_lines: usize,
    last_rows: u64,
    enabled: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { shown_lines: 0, last_rows: 0, enabled: std::io::stderr().is_terminal() }
    }

    /// Draws the report over the one before, a second later.
    pub(crate) fn show(&mut self, report: &StatusReport) {
        if !self.enabled {
            return;
        }
        let text = render(report, report.rows.saturating_sub(self.last_rows));
        self.last_rows = report.rows;
        let mut out = std::io::stderr().lock();
        // A terminal that is gone is no reason to stop.
        let _ = write!(out, "{}{text}", erase(self.shown_lines));
        let _ = out.flush();
        self.shown_lines = text.lines().count();
    }
}

/// Moves up over what was shown and clears it.
fn erase(lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\x1b[0J"),
    }
}

fn render(report: &StatusReport, rows_per_second: u64) -> String {
    let mut text = format!("rows {} ({rows_per_second}/s)   up {} s\n", report.rows, report.uptime.as_secs());
    for connector in &report.connectors {
        let end = if connector.finished { "   finished" } else { "" };
        text += &format!(
            "  source {:<24} in {:<12} rejected {}{end}\n",
            connector.stream, connector.rows, connector.rejected
        );
    }
    for query in &report.queries {
        text += &format!(
            "  query  {:<24} out {:<11} late {:<8} lag {}\n",
            query.name, query.rows_out, query.late, query.lag
        );
        if let Some(error) = &query.error {
            text += &format!("         stopped: {error}\n");
        }
    }
    for sink in &report.sinks {
        text += &format!(
            "  sink   {:<24} out {:<11} rejected {:<4} lag {:<8} {}\n",
            sink.name, sink.delivered, sink.rejected, sink.lag, sink.state
        );
        if let (Some(error), "retrying" | "failed") = (&sink.error, sink.state) {
            text += &format!("         {error}\n");
        }
    }
    text
}
