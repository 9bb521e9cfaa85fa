//! A stage: the part of a query that turns one batch of rows into another, compiled once and run for every batch.
//!
//! The stage's plan has one leaf that is fed by hand; its other leaves are reference tables. Its plan is compiled
//! again when one of those was re-read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchemaRef, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScanBuilder, TableType};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use thermocline_log::RowCondition;
use thermocline_sql::PlaceholderNode;

use crate::condition::condition_of;
use crate::tables::Tables;

/// Name of the hidden column that says which row of the input batch an output row came of.
pub(crate) const ROW: &str = "__row";

/// Name of the scan that stands for the rows of the current run.
pub(crate) const SLOT: &str = "slot";
/// Runs after which a plan is made anew: DataFusion keeps metrics of every run of a plan, some kilobytes each.
const RUNS_OF_PLAN: u32 = 256;

/// A compiled stage.
pub(crate) struct Stage {
    logical: LogicalPlan,
    tables: Arc<Tables>,
    tables_version: u64,
    slot: Arc<Slot>,
    physical: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    stateful: bool,
    runs: u32,
    context: SessionContext,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("plan", &self.physical).finish_non_exhaustive()
    }
}

/// Where the batch of the current run is put for the plan's leaf to find.
#[derive(Debug, Default)]
struct Slot {
    batch: Mutex<Option<RecordBatch>>,
    projection: Mutex<Vec<usize>>,
}

impl Stage {
    /// Compiles a plan over rows of `stream`. Its output keeps a last column [`ROW`] with the index of the input row.
    pub(crate) async fn over_stream(plan: &LogicalPlan, stream: &str, tables: Arc<Tables>) -> Result<Self> {
        let slot = Arc::new(Slot::default());
        let is_source = |node: &LogicalPlan| match node {
            LogicalPlan::TableScan(scan) if scan.table_name.table() == stream => {
                let schema = scan.source.schema();
                scan_with_row(scan.table_name.clone(), schema.fields().iter().cloned(), &slot).map(Some)
            }
            _ => Ok(None),
        };
        let logical = with_row_column(plan.clone(), is_source)?;
        Self::compile(logical, slot, tables).await
    }

    /// Compiles a plan whose leaf is a [`PlaceholderNode`] and that every row goes through by itself. Its output keeps a
    /// last column [`ROW`] with the index of the row.
    pub(crate) async fn over_placeholder_rows(plan: &LogicalPlan, tables: Arc<Tables>) -> Result<Self> {
        let slot = Arc::new(Slot::default());
        let is_source = |node: &LogicalPlan| match node {
            LogicalPlan::Extension(extension) if extension.node.as_any().is::<PlaceholderNode>() => {
                let fields = placeholder_fields(node.schema()).into_iter().map(Arc::new);
                let scan = scan_with_row(SLOT.into(), fields, &slot)?;
                let row = row_column(&scan).expect("it was scanned");
                let columns = placeholder_columns(node.schema()).chain([row]);
                LogicalPlanBuilder::from(scan).project(columns)?.build().map(Some)
            }
            _ => Ok(None),
        };
        let logical = with_row_column(plan.clone(), is_source)?;
        Self::compile(logical, slot, tables).await
    }

    /// Compiles a plan whose leaf is a [`PlaceholderNode`].
    pub(crate) async fn over_placeholder(plan: &LogicalPlan, tables: Arc<Tables>) -> Result<Self> {
        let slot = Arc::new(Slot::default());
        let leaf_slot = Arc::clone(&slot);
        let logical = plan
            .clone()
            .transform_up(|node| match &node {
                LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<PlaceholderNode>() {
                    Some(_) => Ok(Transformed::yes(placeholder_scan(node.schema(), &leaf_slot)?)),
                    None => Ok(Transformed::no(node)),
                },
                _ => Ok(Transformed::no(node.recompute_schema()?)),
            })
            .data()?;
        Self::compile(logical, slot, tables).await
    }

    async fn compile(logical: LogicalPlan, slot: Arc<Slot>, tables: Arc<Tables>) -> Result<Self> {
        let context = crate::session::stage_context();
        let tables_version = tables.version();
        let logical = tables.bind(logical)?;
        let physical = context.state().create_physical_plan(&logical).await?;
        let stateful = keeps_state(&physical);
        let task = context.task_ctx();
        Ok(Self { logical, tables, tables_version, slot, physical, task, stateful, runs: 0, context })
    }

    /// Columns of the input that the plan reads, as indices into the source's schema; [`ROW`] comes after the last.
    pub(crate) fn projection(&self) -> Vec<usize> {
        self.slot.projection.lock().clone()
    }

    /// Which rows of the stream, which has so many columns, may come to anything, where that can be told by a condition.
    pub(crate) fn condition(&self, columns_of_stream: usize) -> Option<Arc<dyn RowCondition>> {
        let projection = self.projection();
        condition_of(&self.physical, |scanned| projection.get(scanned).copied().filter(|i| *i < columns_of_stream))
    }

    /// Columns of the output.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.physical.schema()
    }

    /// The output's schema with its qualifiers.
    pub(crate) fn df_schema(&self) -> &DFSchemaRef {
        self.logical.schema()
    }

    /// The plan; what is fed by hand is a scan of [`SLOT`] or of the stream.
    pub(crate) fn plan(&self) -> &LogicalPlan {
        &self.logical
    }

    /// Runs the plan over one batch of `rows` rows; `column` gives the source's column of an index.
    pub(crate) async fn run(&mut self, rows: usize, column: impl Fn(usize) -> ArrayRef) -> Result<RecordBatch> {
        if self.tables_version != self.tables.version() {
            self.tables_version = self.tables.version();
            self.physical = self.context.state().create_physical_plan(&self.logical).await?;
        }
        let arrays: Vec<ArrayRef> = self.slot.projection.lock().iter().map(|i| column(*i)).collect();
        let fields: Vec<Field> =
            arrays.iter().enumerate().map(|(i, a)| Field::new(format!("{i}"), a.data_type().clone(), true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        *self.slot.batch.lock() = Some(batch);
        self.runs += 1;
        if self.runs.is_multiple_of(RUNS_OF_PLAN) {
            self.physical = reset_plan_states(Arc::clone(&self.physical))?;
        }
        let plan = match self.stateful {
            true => reset_plan_states(Arc::clone(&self.physical))?,
            false => Arc::clone(&self.physical),
        };
        let schema = plan.schema();
        let mut batches = collect(plan, Arc::clone(&self.task)).await?;
        match batches.len() {
            1 => Ok(batches.remove(0)),
            _ => Ok(concat_batches(&schema, &batches)?),
        }
    }
}

/// Whether a plan keeps something from one run to the next that has to be reset.
fn keeps_state(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let stateless = matches!(
        plan.name(),
        "FilterExec" | "ProjectionExec" | "StreamingTableExec" | "CoalesceBatchesExec" | "CooperativeExec"
    );
    !stateless || plan.children().into_iter().any(keeps_state)
}

/// A scan of the slot with these columns, and [`ROW`] after them.
fn scan_with_row(
    name: TableReference,
    fields: impl Iterator<Item = Arc<Field>>,
    slot: &Arc<Slot>,
) -> Result<LogicalPlan> {
    let fields: Vec<_> = fields.chain([Arc::new(Field::new(ROW, DataType::UInt32, false))]).collect();
    let table = SlotTable { schema: Arc::new(Schema::new(fields)), slot: Arc::clone(slot) };
    Ok(LogicalPlan::TableScan(TableScanBuilder::new(name, provider_as_source(Arc::new(table))).build()?))
}

/// The plan with its source replaced by what `scan_of` gives for it, and [`ROW`] carried up to the root as the last column.
fn with_row_column(
    plan: LogicalPlan,
    scan_of: impl Fn(&LogicalPlan) -> Result<Option<LogicalPlan>>,
) -> Result<LogicalPlan> {
    let carried = plan
        .transform_up(|node| match node {
            LogicalPlan::TableScan(_) | LogicalPlan::Extension(_) => match scan_of(&node)? {
                Some(scan) => Ok(Transformed::yes(scan)),
                None => Ok(Transformed::no(node.recompute_schema()?)),
            },
            LogicalPlan::Projection(mut projection) => {
                let input = Arc::clone(&projection.input);
                if let Some(row) = row_column(&input) {
                    projection.expr.push(row);
                }
                let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(projection.expr)?.build()?;
                Ok(Transformed::yes(plan))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = Arc::unwrap_or_clone(alias.input);
                Ok(Transformed::yes(LogicalPlanBuilder::from(input).alias(alias.alias)?.build()?))
            }
            other => Ok(Transformed::no(other.recompute_schema()?)),
        })
        .data()?;
    // The hidden column goes last, wherever a join left it.
    let row =
        row_column(&carried).ok_or_else(|| DataFusionError::Internal("the plan does not read its source".into()))?;
    let mut columns: Vec<Expr> =
        carried.schema().columns().into_iter().filter(|c| c.name != ROW).map(Expr::Column).collect();
    columns.push(row);
    LogicalPlanBuilder::from(carried).project(columns)?.build()
}

fn row_column(plan: &LogicalPlan) -> Option<Expr> {
    let (qualifier, field) = plan.schema().iter().find(|(_, field)| field.name() == ROW)?;
    Some(Expr::Column(Column::new(qualifier.cloned(), field.name())))
}

/// A scan of the slot under the names of a placeholder's columns.
fn placeholder_scan(schema: &DFSchemaRef, slot: &Arc<Slot>) -> Result<LogicalPlan> {
    let table = SlotTable { schema: Arc::new(Schema::new(placeholder_fields(schema))), slot: Arc::clone(slot) };
    let scan = LogicalPlanBuilder::scan(SLOT, provider_as_source(Arc::new(table)), None)?;
    scan.project(placeholder_columns(schema))?.build()
}

fn placeholder_fields(schema: &DFSchemaRef) -> Vec<Field> {
    let field = |(i, f): (usize, &Arc<Field>)| Field::new(format!("c{i}"), f.data_type().clone(), f.is_nullable());
    schema.fields().iter().enumerate().map(field).collect()
}

/// The slot's columns under the names of the placeholder's.
fn placeholder_columns(schema: &DFSchemaRef) -> impl Iterator<Item = Expr> {
    schema.iter().enumerate().map(|(i, (qualifier, field))| {
        Expr::Column(Column::new_unqualified(format!("c{i}"))).alias_qualified(qualifier.cloned(), field.name())
    })
}

/// A table whose rows are whatever is in the slot when the plan runs.
#[derive(Debug)]
struct SlotTable {
    schema: SchemaRef,
    slot: Arc<Slot>,
}

#[async_trait]
impl TableProvider for SlotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&projection)?);
        *self.slot.projection.lock() = projection;
        let partition = SlotPartition { schema: Arc::clone(&schema), slot: Arc::clone(&self.slot) };
        StreamingTable::try_new(schema, vec![Arc::new(partition)])?.scan(state, None, &[], None).await
    }
}

#[derive(Debug)]
struct SlotPartition {
    schema: SchemaRef,
    slot: Arc<Slot>,
}

impl PartitionStream for SlotPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.slot.batch.lock().take().map(|batch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), batch.columns().to_vec(), &options)
        });
        let schema = Arc::clone(&self.schema);
        let rows = batch.transpose().map_err(DataFusionError::from).map(|b| b.into_iter().collect());
        match rows.and_then(|rows| MemoryStream::try_new(rows, Arc::clone(&schema), None)) {
            Ok(stream) => Box::pin(stream),
            Err(error) => Box::pin(datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(
                schema,
                futures::stream::once(async move { Err(error) }),
            )),
        }
    }
}
