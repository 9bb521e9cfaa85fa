//! One of the queries that share panes: where its part of a window's result goes, and what the log keeps of it.

use arrow::array::RecordBatch;
use thermocline_log::{Commit, Log, Stream};

use super::failed::{FailedOffset, failed_rows};
use super::failed_results::{FailedResults, is_row_by_row_in_order, run_results};
use super::progress::{Ledger, Progress};
use super::{Counters, Emitter};
use crate::error::Result;
use crate::late::{LateOffset, late_rows};
use crate::stage::Stage;
use crate::window::Closed;

/// What a query brings with it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) sql: String,
    /// Which columns of the shared result are its own, in its order.
    pub(crate) columns: Vec<usize>,
    /// What runs above a closed window.
    pub(crate) output: Stage,
    pub(crate) emitter: Emitter,
    pub(crate) failed: Stream,
    pub(crate) failed_results: FailedResults,
    pub(crate) counters: Counters,
}

/// Where a query goes on; queries that go on at the same place can share panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResumePoint {
    /// Its text is not the one that the state belongs to.
    pub(crate) is_new_text: bool,
    pub(crate) snapshots: Vec<Option<String>>,
    pub(crate) progress: Option<Progress>,
}

impl ResumePoint {
    /// Where the query of this name and text goes on over a stream.
    pub(crate) fn of(log: &Log, name: &str, sql: &str, stream: &Stream) -> Result<Self> {
        let ledger = Ledger::new(name);
        let is_new_text = ledger.claim(log, sql, &mut Commit::new());
        let snapshots = (0..stream.partitions()).map(|partition| ledger.snapshot(log, partition)).collect();
        Ok(Self { is_new_text, snapshots, progress: ledger.progress(log)? })
    }
}

impl Member {
    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(&self.name)
    }

    /// Emits its part of the results of windows.
    pub(super) async fn emit(&mut self, closed: &Closed, commit: &mut Commit) -> Result<()> {
        let rows = closed.rows.project(&self.columns)?;
        if closed.is_correction || !self.takes_windows_together() {
            let mut begin = 0;
            for groups in &closed.groups {
                self.emit_rows(&rows.slice(begin, *groups), closed.is_correction, commit).await?;
                begin += groups;
            }
            return Ok(());
        }
        self.emit_rows(&rows, false, commit).await
    }

    /// Whether what runs above windows makes the same of several of them at once as of one after the other.
    fn takes_windows_together(&self) -> bool {
        !matches!(self.emitter, Emitter::Alert(_)) && is_row_by_row_in_order(self.output.plan())
    }

    async fn emit_rows(&mut self, rows: &RecordBatch, is_correction: bool, commit: &mut Commit) -> Result<()> {
        let rows = self.failed_results.run(&mut self.output, rows, commit).await?;
        let emitted = match is_correction {
            true => self.emitter.correct(&rows, commit)?,
            false => self.emitter.emit(&rows, commit)?,
        };
        self.counters.add_out(emitted as u64);
        Ok(())
    }

    /// Emits its part of a result that is looked at before it is complete. What fails here fails again when the window's last
    /// result is emitted, and is kept then.
    pub(super) async fn emit_early(&mut self, rows: &RecordBatch, commit: &mut Commit) -> Result<()> {
        let (rows, _) = run_results(&mut self.output, &rows.project(&self.columns)?).await?;
        let emitted = self.emitter.emit(&rows, commit)?;
        self.counters.add_out(emitted as u64);
        Ok(())
    }

    /// Keeps the rows that no window took.
    pub(super) fn keep_late(
        &self,
        log: &Log,
        stream: &Stream,
        kept_in: &Stream,
        late: &[LateOffset],
        commit: &mut Commit,
    ) -> Result<()> {
        if !late.is_empty() {
            self.counters.add_late(late.len() as u64);
            commit.append(kept_in.id(), late_rows(log, stream, &self.name, late)?);
        }
        Ok(())
    }

    /// Keeps the rows that an expression failed on.
    pub(super) fn keep_failed(
        &self,
        log: &Log,
        stream: &Stream,
        failed: &[FailedOffset],
        commit: &mut Commit,
    ) -> Result<()> {
        if !failed.is_empty() {
            self.counters.add_failed(failed.len() as u64);
            commit.append(self.failed.id(), failed_rows(log, stream, failed)?);
        }
        Ok(())
    }
}
