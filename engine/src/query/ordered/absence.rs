//! What a query that watches for silence decides: which keys a table expects, that the engine was down, that the clock has
//! seen nothing come for so long that time has to go on without rows.
//!
//! Each decision is made when all rows that there are have been read, so that a backlog is caught up first, and is
//! committed with what it leads to. The engine's clock counts from its start: while it was down nobody was silent.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use thermocline_sql::{OrderedOperator as Kind, OrderedShape};

use super::{Input, OrderedPartition, OrderedQuery};
use crate::error::Result;
use crate::ordered::{Absence, Decided, Decision};
use crate::tables::Tables;
use crate::watermark::NO_WATERMARK;

/// What such a query needs besides its operator.
#[derive(Debug)]
pub(super) struct Watch {
    interval_us: i64,
    expected: Option<Expected>,
    /// Up to there rows had come before the engine was down; `None` once they are read.
    catch_up: Option<Vec<u64>>,
}

/// The rows whose keys are expected.
#[derive(Debug)]
struct Expected {
    plan: LogicalPlan,
    tables: Arc<Tables>,
    /// Of the tables, when they were last looked at.
    version: Option<u64>,
}

impl Expected {
    async fn read(&mut self) -> Result<Vec<RecordBatch>> {
        self.version = Some(self.tables.version());
        let context = crate::session::stage_context();
        let plan = context.state().create_physical_plan(&self.tables.bind(self.plan.clone())?).await?;
        Ok(collect(plan, context.task_ctx()).await?)
    }

    fn has_changed(&self) -> bool {
        self.version != Some(self.tables.version())
    }
}

impl OrderedQuery {
    /// Takes up what an earlier life decided; an expected key is expected from the beginning. Called before the replay.
    pub(super) async fn open_watch(&mut self, shape: &OrderedShape, is_changed: bool, goes_on: bool) -> Result<()> {
        let Kind::Absence(definition) = &shape.operator else { return Ok(()) };
        let plan = definition.expected.clone();
        let expected = plan.map(|plan| Expected { plan, tables: Arc::clone(&self.tables), version: None });
        let ends: Vec<u64> =
            self.partitions().map(|partition| partition.next_offset() + partition.lag(&self.log)).collect();
        // Where it was down and nothing had come by the next time, that goes on.
        let catch_up = (goes_on && self.absence().down_us().is_none()).then_some(ends);
        self.watch = Some(Watch { interval_us: definition.interval_us, expected, catch_up });
        let ledger = self.inputs[0].ledger.clone();
        if is_changed {
            ledger.forget_absences(&self.log, u64::MAX, &mut self.commit);
        } else {
            let columns = Arc::clone(self.absence().columns());
            let decisions = ledger.absences(&self.log, &columns)?;
            self.absence().repeat(decisions);
        }
        if self.absence().next_decision() == 0 {
            self.expect(NO_WATERMARK, None).await?;
        }
        Ok(())
    }

    /// After the replay of a query whose text has changed.
    pub(super) fn doubt_watch(&mut self) {
        if let Some(absence) = self.operator.as_absence() {
            absence.doubt();
        }
    }

    fn absence(&mut self) -> &mut Absence {
        self.operator.as_absence().expect("only such a query has a watch")
    }

    /// Where reading stops for now: before the rows that came after the engine was down.
    pub(super) fn catch_up(&self) -> Option<Vec<u64>> {
        self.watch.as_ref()?.catch_up.clone()
    }

    /// Decides what is to be decided before time advances: where event time begins for expected keys that are not heard, and
    /// where it goes on after the engine was down.
    pub(super) async fn begin_watch(&mut self) -> Result<()> {
        if self.watch.is_none() || self.combined_us() == NO_WATERMARK {
            return Ok(());
        }
        let first_us = self.partitions().filter_map(OrderedPartition::first_us).min();
        let us = first_us.unwrap_or_else(|| self.combined_us());
        if !self.absence().has_begun() {
            self.decide(NO_WATERMARK, Decided::Begin { us }).await?;
        }
        if self.absence().down_us().is_some_and(|down_us| self.combined_us() > down_us) {
            self.decide(self.watermark_us, Decided::Up { us }).await?;
        }
        Ok(())
    }

    /// Decides what is to be decided now; tells whether there is more to read at once.
    pub(super) async fn judge_silence(&mut self, read: u64) -> Result<bool> {
        let Some(watch) = &mut self.watch else { return Ok(false) };
        if watch.catch_up.is_some() {
            if read > 0 {
                return Ok(false);
            }
            watch.catch_up = None;
            if let Some(from_us) = self.end_us() {
                self.inputs.iter_mut().flat_map(Input::partitions_mut).for_each(OrderedPartition::forget_first);
                self.decide(self.watermark_us, Decided::Down { from_us }).await?;
            }
            return Ok(true);
        }
        if self.partitions().any(|partition| partition.lag(&self.log) > 0) {
            return Ok(false);
        }
        let silent_us = micros(self.silent_for());
        if self.watch.as_ref().is_some_and(|watch| watch.expected.as_ref().is_some_and(Expected::has_changed)) {
            let since_us = self.end_us().map(|end_us| end_us.saturating_add(silent_us));
            self.expect(self.watermark_us, since_us).await?;
        }
        let interval_us = self.watch.as_ref().map_or(i64::MAX, |watch| watch.interval_us);
        if silent_us > interval_us {
            self.go_on_without_rows(silent_us).await?;
        }
        Ok(false)
    }

    /// Nothing has come for longer than the interval: time goes on by the clock.
    async fn go_on_without_rows(&mut self, silent_us: i64) -> Result<()> {
        let end_us = self.end_us();
        if let Some(end_us) = end_us.filter(|end_us| *end_us > self.watermark_us) {
            self.go_on_to(end_us).await?;
        }
        let Some(due_us) = self.absence().first_silent_us() else { return Ok(()) };
        let Some(end_us) = end_us else {
            // No row has ever come: there is no event time, only the clock's.
            let now_us = micros(self.clock.since_epoch());
            return self.decide(NO_WATERMARK, Decided::Silent { now_us }).await;
        };
        let now_us = end_us.saturating_add(silent_us);
        if due_us < now_us {
            self.decide(end_us, Decided::Silent { now_us }).await?;
        }
        Ok(())
    }

    /// Gives the operator the rows that wait: none of their time comes any more.
    async fn go_on_to(&mut self, end_us: i64) -> Result<()> {
        self.hold_watermarks(end_us);
        self.begin_watch().await?;
        self.advance(end_us, true).await
    }

    /// How long until the clock may have something to decide, if nothing comes.
    pub(super) fn next_look(&mut self) -> Option<Duration> {
        let watch = self.watch.as_ref()?;
        let interval = Duration::from_micros(watch.interval_us.unsigned_abs());
        let refresh = watch.expected.as_ref().and_then(|expected| expected.tables.shortest_refresh());
        let silent_for = self.silent_for();
        // Before the interval has passed nothing is decided, whatever the keys say: they need not be asked.
        let at = match silent_for <= interval {
            true => Some(interval),
            false => self.first_silent().map(|first| first.max(interval)),
        };
        // A moment more, so that it has passed by then.
        let silent = at.map(|at| at.saturating_sub(silent_for) + Duration::from_millis(1));
        silent.into_iter().chain(refresh).min()
    }

    /// How long nothing has to come, by the clock, until a key is silent that is not raised.
    fn first_silent(&mut self) -> Option<Duration> {
        let due_us = self.absence().first_silent_us()?;
        let us = self.end_us().map_or(0, |end_us| due_us.saturating_sub(end_us)).max(0);
        Some(Duration::from_micros(us.unsigned_abs()))
    }

    /// One past the latest event time that was read.
    fn end_us(&self) -> Option<i64> {
        let waiting_us = self.partitions().filter_map(OrderedPartition::last_us).max();
        let end_us = waiting_us.map_or(self.watermark_us, |last_us| last_us.saturating_add(1).max(self.watermark_us));
        (end_us != NO_WATERMARK).then_some(end_us)
    }

    /// For how long nothing has come, by the engine's clock, since it was started.
    fn silent_for(&self) -> Duration {
        let last = self.inputs.iter().flat_map(|input| input.active.iter()).max();
        last.map_or(Duration::ZERO, |last| self.clock.elapsed().saturating_sub(*last))
    }

    /// Watches the keys that the tables have now, where they are not watched already.
    async fn expect(&mut self, at_us: i64, since_us: Option<i64>) -> Result<()> {
        let Some(expected) = self.watch.as_mut().and_then(|watch| watch.expected.as_mut()) else { return Ok(()) };
        let batches = expected.read().await?;
        let columns = Arc::clone(self.absence().columns());
        let of_columns = |batch: &RecordBatch| RecordBatch::try_new(Arc::clone(&columns), batch.columns().to_vec());
        let batches = batches.iter().map(of_columns).collect::<Result<Vec<_>, _>>()?;
        let rows = concat_batches(&columns, &batches)?;
        if !self.absence().expects_other(&rows)? {
            return Ok(());
        }
        self.decide(at_us, Decided::Expect { rows, since_us }).await
    }

    /// Makes a decision, stores it, and emits what comes of it.
    async fn decide(&mut self, at_us: i64, what: Decided) -> Result<()> {
        let decision = Decision { number: self.absence().next_decision(), at_us, what };
        self.inputs[0].ledger.store_absence(&decision, &mut self.commit)?;
        let emitted = self.absence().decide(decision)?;
        self.emit(emitted).await
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
