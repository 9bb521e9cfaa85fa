//! Constants that a function cannot be called with, and modifiers that it does not take: found when a query is planned,
//! not at its first row.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunctionDefinition};
use datafusion::logical_expr::function::PartitionEvaluatorArgs;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{AggregateUDF, Expr, WindowUDF};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::usage;

/// What is wrong with a call of a function of these, over rows of this schema. Types are not judged here.
pub(crate) fn misuse(expr: &Expr, schema: &DFSchema) -> Option<String> {
    let outcome = match expr {
        Expr::AggregateFunction(call) => aggregate(&call.func, &call.params.args, call.params.distinct, schema),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                aggregate(function, &call.params.args, call.params.distinct, schema)
            }
            WindowFunctionDefinition::WindowUDF(function) => {
                let ignore_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
                row_function(function, &call.params.args, ignore_nulls, schema)
            }
        },
        _ => return None,
    };
    outcome.err().map(|error| error.message().into_owned())
}

fn aggregate(function: &Arc<AggregateUDF>, args: &[Expr], distinct: bool, schema: &DFSchema) -> Result<()> {
    let Some(args) = arguments(function.name(), args, schema) else { return Ok(()) };
    let builder = AggregateExprBuilder::new(Arc::clone(function), args).schema(Arc::clone(schema.inner()));
    let Ok(call) = builder.alias("call").with_distinct(distinct).build() else { return Ok(()) };
    call.create_accumulator().map(|_| ())
}

fn row_function(function: &WindowUDF, args: &[Expr], ignore_nulls: bool, schema: &DFSchema) -> Result<()> {
    let Some(args) = arguments(function.name(), args, schema) else { return Ok(()) };
    let fields: Result<Vec<FieldRef>> = args.iter().map(|arg| arg.return_field(schema.as_arrow())).collect();
    let Ok(fields) = fields else { return Ok(()) };
    function.partition_evaluator_factory(PartitionEvaluatorArgs::new(&args, &fields, false, ignore_nulls)).map(|_| ())
}

/// The arguments of a call; `None` where something else is wrong, or the function is not of these.
fn arguments(name: &str, args: &[Expr], schema: &DFSchema) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
    usage(name)?;
    let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    args.iter().map(|arg| create_physical_expr(arg, schema, &props, &planning).ok()).collect()
}
