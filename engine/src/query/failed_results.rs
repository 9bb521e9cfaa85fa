//! Rows that a query made itself and that an expression above fails on: results of a window, of an ordered operator, rows
//! of an alert. They are kept out and kept, as JSON with the reason, in `failed.<query>`; their neighbours go on.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchemaRef, JoinType, TableReference};
use datafusion::logical_expr::LogicalPlan;
use thermocline_log::{Commit, Stream};
use thermocline_sql::PlaceholderNode;

use super::Counters;
use super::failed::{FAILED_REASON, FAILED_RESULT, FailedRow, Halves, run_stage};
use super::reader::in_row_order;
use crate::error::Result;
use crate::json::rows_as_json;
use crate::stage::Stage;

/// Where a query keeps them.
#[derive(Debug, Clone)]
pub(crate) struct FailedResults {
    stream: Stream,
    counters: Counters,
    /// What the columns of the rows are called, where their own names mean nothing.
    names: Option<Vec<String>>,
}

impl FailedResults {
    /// In the stream `failed.<query>`.
    pub(crate) fn new(stream: &Stream, counters: &Counters) -> Self {
        Self { stream: stream.clone(), counters: counters.clone(), names: None }
    }

    /// Of rows that go into the placeholder of `plan`: their columns are called as there.
    pub(crate) fn below(plan: &LogicalPlan, stream: &Stream, counters: &Counters) -> Self {
        Self { names: placeholder_schema(plan).map(|schema| distinct_names(&schema)), ..Self::new(stream, counters) }
    }

    /// Adds the rows of `rows` that have failed to the commit.
    pub(crate) fn keep(&self, rows: &RecordBatch, failed: &[FailedRow], commit: &mut Commit) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from_iter_values(failed.iter().map(|row| row.row));
        let mut results = take_record_batch(rows, &indices)?;
        if let Some(names) = self.names.as_ref().filter(|names| names.len() == results.num_columns()) {
            results = renamed(&results, names)?;
        }
        let results = rows_as_json(&results)?;
        let results: ArrayRef = Arc::new(StringArray::from(results));
        let reasons: ArrayRef = Arc::new(StringArray::from_iter_values(failed.iter().map(|row| &row.reason)));
        let column = |field: &Arc<Field>| match field.name().as_str() {
            FAILED_REASON => Arc::clone(&reasons),
            FAILED_RESULT => Arc::clone(&results),
            _ => new_null_array(field.data_type(), failed.len()),
        };
        let columns = self.stream.schema().fields().iter().map(column).collect();
        commit.append(self.stream.id(), RecordBatch::try_new(Arc::clone(self.stream.schema()), columns)?);
        self.counters.add_failed(failed.len() as u64);
        Ok(())
    }

    /// Runs a stage over results, without those that it fails on, which are kept. Where a row of its output depends on
    /// several results, all of them have failed.
    pub(crate) async fn run(&self, stage: &mut Stage, rows: &RecordBatch, commit: &mut Commit) -> Result<RecordBatch> {
        let (output, failed) = run_results(stage, rows).await?;
        self.keep(rows, &failed, commit)?;
        Ok(output)
    }

    /// The same with a stage that every row goes through by itself
    /// ([`over_placeholder_rows`](Stage::over_placeholder_rows)); its output comes in the order of the rows.
    pub(crate) async fn run_rows(
        &self,
        stage: &mut Stage,
        rows: &RecordBatch,
        commit: &mut Commit,
    ) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let column = |i: usize| -> ArrayRef {
            match i < rows.num_columns() {
                true => Arc::clone(rows.column(i)),
                false => Arc::new(UInt32Array::from_iter_values(0..count as u32)),
            }
        };
        // A join gives its rows in another order.
        let (output, failed) = run_stage(stage, count, column).await?;
        self.keep(rows, &failed, commit)?;
        let rows = in_row_order(output)?;
        Ok(rows.project(&(0..rows.num_columns() - 1).collect::<Vec<_>>())?)
    }
}

/// The same without keeping them: for results that are looked at again when they are complete.
pub(crate) async fn run_results(stage: &mut Stage, rows: &RecordBatch) -> Result<(RecordBatch, Vec<FailedRow>)> {
    let row_by_row = is_row_by_row(stage.plan());
    let mut parts = Vec::new();
    let mut halves = Halves::of(rows.num_rows());
    while let Some(range) = halves.next() {
        let part = rows.slice(range.start, range.len());
        match stage.run(part.num_rows(), |i| Arc::clone(part.column(i))).await {
            Ok(output) => parts.push(output),
            Err(error) if row_by_row => halves.fail(range, error)?,
            Err(error) => halves.fail_all(range, error)?,
        }
    }
    let output = match parts.len() {
        1 => parts.remove(0),
        _ => concat_batches(&stage.schema(), &parts)?,
    };
    Ok((output, halves.into_failed()))
}

fn placeholder_schema(plan: &LogicalPlan) -> Option<DFSchemaRef> {
    match plan {
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<PlaceholderNode>() => {
            Some(Arc::clone(extension.node.schema()))
        }
        _ => plan.inputs().into_iter().find_map(placeholder_schema),
    }
}

/// The names of columns, with those of their tables where two have the same.
fn distinct_names(schema: &DFSchemaRef) -> Vec<String> {
    let is_twice = |name: &str| schema.fields().iter().filter(|field| field.name() == name).count() > 1;
    let name = |(qualifier, field): (Option<&TableReference>, &Arc<Field>)| match qualifier {
        Some(qualifier) if is_twice(field.name()) => format!("{qualifier}.{}", field.name()),
        _ => field.name().clone(),
    };
    schema.iter().map(name).collect()
}

fn renamed(rows: &RecordBatch, names: &[String]) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(names);
    let fields: Vec<_> = columns.map(|(column, name)| Field::new(name, column.data_type().clone(), true)).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec())?)
}

/// Whether each row of the placeholder goes through the plan by itself.
fn is_row_by_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_row_by_row(&projection.input),
        LogicalPlan::Filter(filter) => is_row_by_row(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_row_by_row(&alias.input),
        LogicalPlan::Join(join) => match (reads_slot(&join.left), reads_slot(&join.right)) {
            (true, false) => {
                let kept = matches!(
                    join.join_type,
                    JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
                );
                kept && is_row_by_row(&join.left)
            }
            (false, true) => {
                let kept = matches!(
                    join.join_type,
                    JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
                );
                kept && is_row_by_row(&join.right)
            }
            _ => false,
        },
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Extension(extension) => extension.node.as_any().is::<PlaceholderNode>(),
        _ => false,
    }
}

/// Whether each row goes through the plan by itself, and none overtakes another.
pub(super) fn is_row_by_row_in_order(plan: &LogicalPlan) -> bool {
    // A join gives its rows in another order.
    !matches!(plan, LogicalPlan::Join(_))
        && is_row_by_row(plan)
        && plan.inputs().into_iter().all(is_row_by_row_in_order)
}

fn reads_slot(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.table_name.table() == crate::stage::SLOT,
        LogicalPlan::Extension(extension) => extension.node.as_any().is::<PlaceholderNode>(),
        _ => plan.inputs().into_iter().any(reads_slot),
    }
}

/// Evaluates an expression over `rows` rows by ranges, and by smaller ones where it fails; gives a value for each row, the
/// default for those that have failed.
pub(crate) fn evaluate_rows<T: Clone + Default>(
    rows: usize,
    mut evaluate: impl FnMut(Range<usize>) -> datafusion::error::Result<Vec<T>>,
) -> Result<(Vec<T>, Vec<FailedRow>)> {
    let mut values = vec![T::default(); rows];
    let mut halves = Halves::of(rows);
    while let Some(range) = halves.next() {
        match evaluate(range.clone()) {
            Ok(part) if range.len() == rows => values = part,
            Ok(part) => values[range].clone_from_slice(&part),
            Err(error) => halves.fail(range, error)?,
        }
    }
    Ok((values, halves.into_failed()))
}
