//! `SESSION`, `COUNT_WINDOW` and `STATE_WINDOW` over rows that have an end: all rows are taken, sorted by event time, and go
//! through the operator of the continuous query at once.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, collect_partitioned};
use futures::TryStreamExt;
use thermocline_sql::{KEYED_WINDOW_TIME, KeyedWindow, KeyedWindowNode};

use crate::ordered::{Run, merge_runs, window_operator};

/// Aggregates windows that rows make.
#[derive(Debug)]
pub(crate) struct KeyedWindowExec {
    /// The rows; their time is the last column.
    input: Arc<dyn ExecutionPlan>,
    window: KeyedWindow,
    properties: Arc<PlanProperties>,
}

impl KeyedWindowExec {
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, node: &KeyedWindowNode, schema: SchemaRef) -> Result<Self> {
        if input.schema().fields().last().is_none_or(|field| field.name() != KEYED_WINDOW_TIME) {
            return internal_err!("the last column of {} is not {KEYED_WINDOW_TIME}", input.name());
        }
        Ok(Self::of(input, node.window.clone(), schema))
    }

    fn of(input: Arc<dyn ExecutionPlan>, window: KeyedWindow, schema: SchemaRef) -> Self {
        let equivalences = EquivalenceProperties::new(schema);
        let partitioning = Partitioning::UnknownPartitioning(1);
        let properties = PlanProperties::new(equivalences, partitioning, EmissionType::Final, Boundedness::Bounded);
        Self { input, window, properties: Arc::new(properties) }
    }
}

impl DisplayAs for KeyedWindowExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedWindowExec: {}", self.window.function)
    }
}

impl ExecutionPlan for KeyedWindowExec {
    fn name(&self) -> &'static str {
        "KeyedWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// The rows of a partition come in their order; between partitions the event time decides.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().expect("a window has one input");
        Ok(Arc::new(Self::of(input, self.window.clone(), self.schema())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("KeyedWindowExec has one partition, not {partition}");
        }
        let (input, window, schema) = (Arc::clone(&self.input), self.window.clone(), self.schema());
        let output = Arc::clone(&schema);
        let batches = async move {
            let rows = collect_partitioned(Arc::clone(&input), context).await?;
            let batches = aggregate(&window, &input.schema(), rows, &output)?;
            Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(batches).try_flatten())))
    }
}

/// The windows of all rows, in the order of the continuous query.
fn aggregate(
    window: &KeyedWindow,
    input: &SchemaRef,
    partitions: Vec<Vec<RecordBatch>>,
    output: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let mut operator = window_operator(window, &DFSchema::try_from(Arc::clone(input))?).map_err(external)?;
    let mut runs = Vec::new();
    for batch in partitions.into_iter().flatten() {
        let times = batch.column(batch.num_columns() - 1).as_primitive::<TimestampMicrosecondType>();
        // A row without time is in no window.
        let timed: Vec<u32> = (0..times.len() as u32).filter(|row| times.is_valid(*row as usize)).collect();
        let times_us = timed.iter().map(|row| times.value(*row as usize)).collect();
        let rows = match timed.len() == batch.num_rows() {
            true => batch.clone(),
            false => take_record_batch(&batch, &UInt32Array::from(timed))?,
        };
        runs.extend(Run::sorted(times_us, rows).map_err(external)?);
    }
    let mut runs = [runs.iter_mut().collect()];
    if let Some(rows) = merge_runs(&mut runs, std::slice::from_ref(input), i64::MAX).map_err(external)? {
        operator.update(&rows).map_err(external)?;
    }
    let emitted = operator.advance(i64::MAX).map_err(external)?;
    let named = emitted.into_iter().map(|rows| RecordBatch::try_new(Arc::clone(output), rows.columns().to_vec()));
    Ok(named.collect::<std::result::Result<_, _>>()?)
}

fn external(error: crate::Error) -> DataFusionError {
    match error {
        crate::Error::DataFusion(error) => error,
        error => DataFusionError::External(Box::new(error)),
    }
}
