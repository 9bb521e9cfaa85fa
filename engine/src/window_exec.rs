//! A window function in FROM where there is no aggregate to do better by panes: each row once per window over its time,
//! with the window's columns added.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::TryStreamExt;
use thermocline_sql::Window;

use crate::window::Assigner;

/// Adds window columns to rows.
#[derive(Debug)]
pub(crate) struct WindowExec {
    /// The rows.
    input: Arc<dyn ExecutionPlan>,
    /// Index of the time column.
    time: usize,
    /// The windows.
    assigner: Assigner,
    /// How the window is written in a plan.
    display: String,
    properties: Arc<PlanProperties>,
}

impl WindowExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, time: usize, window: &Window, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        let assigner = Assigner::new(window);
        Self { input, time, assigner, display: window.to_string(), properties: Arc::new(properties) }
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowExec: {}", self.display)
    }
}

impl ExecutionPlan for WindowExec {
    fn name(&self) -> &'static str {
        "WindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        let properties = PlanProperties::new(
            EquivalenceProperties::new(self.schema()),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        let (time, assigner, display) = (self.time, self.assigner.clone(), self.display.clone());
        Ok(Arc::new(Self { input, time, assigner, display, properties: Arc::new(properties) }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (time, assigner, schema) = (self.time, self.assigner.clone(), self.schema());
        let output = Arc::clone(&schema);
        let rows = self.input.execute(partition, context)?;
        let windowed = rows.and_then(move |batch| {
            let rows = with_windows(&batch, time, &assigner, &output);
            futures::future::ready(rows)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, windowed)))
    }
}

fn with_windows(batch: &RecordBatch, time: usize, assigner: &Assigner, schema: &SchemaRef) -> Result<RecordBatch> {
    let times = batch.column(time).as_primitive::<TimestampMicrosecondType>();
    let (mut rows, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for (row, time_us) in times.iter().enumerate() {
        let Some(time_us) = time_us else { continue };
        for end_us in assigner.ends_us(time_us) {
            rows.push(row as u32);
            starts.push(assigner.window_start_us(end_us));
            ends.push(end_us);
        }
    }
    let mut columns = take_record_batch(batch, &UInt32Array::from(rows))?.columns().to_vec();
    let window_times: Vec<i64> = ends.iter().map(|end| end - 1).collect();
    for values in [starts, ends, window_times] {
        columns.push(Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) as ArrayRef);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
