//! DataFusion sessions: one for the stages of continuous queries, one for ad-hoc queries.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use thermocline_sql::{EventTimes, KeyedWindowNode, WindowFunction, WindowNode};

use crate::keyed_window_exec::KeyedWindowExec;
use crate::window_exec::WindowExec;

/// Rows that a stage handles at once without cutting them up.
const STAGE_BATCH_ROWS: usize = 65_536;

/// A session for stages: one partition, since the engine runs partitions of the log side by side itself, and nothing
/// that depends on what another run saw.
pub(crate) fn stage_context() -> SessionContext {
    let mut config = thermocline_sql::session_config()
        .with_target_partitions(1)
        .with_batch_size(STAGE_BATCH_ROWS)
        .with_information_schema(false);
    config.options_mut().optimizer.enable_dynamic_filter_pushdown = false;
    context(config, Arc::default())
}

/// A session for ad-hoc queries over streams with these event times, with the memory and the disk of `runtime`.
pub(crate) fn query_context(event_times: EventTimes, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let mut config = thermocline_sql::session_config();
    if let MemoryLimit::Finite(bytes) = runtime.memory_pool.memory_limit() {
        // What a sort keeps back for merging what it has spilled: each partition's must fit, and leave room for rows.
        let kept = bytes / (4 * config.target_partitions());
        let execution = &mut config.options_mut().execution;
        execution.sort_spill_reservation_bytes = execution.sort_spill_reservation_bytes.min(kept);
    }
    let context = context(config, runtime);
    thermocline_sql::register_dialect(&context, event_times);
    context
}

/// An expression that is evaluated by itself, outside a plan. It is simplified first: some functions are only names for other
/// expressions and cannot be run (`coalesce`).
pub(crate) fn physical_expr(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    stage_context().create_physical_expr(simplified(expr.clone(), schema)?, schema)
}

/// An expression that can be run as it is.
pub(crate) fn simplified(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    ExprSimplifier::new(context).simplify(expr)
}

fn context(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_query_planner(Arc::new(DialectPlanner))
        .build();
    SessionContext::new_with_state(state)
}

/// DataFusion's planner, which also knows the dialect's window functions.
#[derive(Debug)]
struct DialectPlanner;

#[async_trait]
impl QueryPlanner for DialectPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(WindowNodePlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct WindowNodePlanner;

#[async_trait]
impl ExtensionPlanner for WindowNodePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _planning_ctx: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(window) = node.as_any().downcast_ref::<KeyedWindowNode>() {
            let output = Arc::clone(node.schema().inner());
            let exec = KeyedWindowExec::try_new(Arc::clone(&physical_inputs[0]), window, output)?;
            return Ok(Some(Arc::new(exec)));
        }
        let Some(window) = node.as_any().downcast_ref::<WindowNode>() else { return Ok(None) };
        let schema: &DFSchema = logical_inputs[0].schema();
        let time = schema.index_of_column(&window.time)?;
        let output = Arc::clone(node.schema().inner());
        let WindowFunction::Aligned(window) = &window.window else {
            return plan_err!("{} needs an aggregate over it: GROUP BY a key, window_start, window_end", window.window);
        };
        Ok(Some(Arc::new(WindowExec::new(Arc::clone(&physical_inputs[0]), time, window, output))))
    }
}
