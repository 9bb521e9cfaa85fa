//! A windowed aggregate, compiled: what is grouped by, what is computed, what a partial state looks like.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, not_impl_err};
use datafusion::error::Result;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::GroupsAccumulator;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use thermocline_sql::{GroupColumn, WindowedShape, timestamp_type};

use super::assign::Assigner;
use super::float_extremes::float_extreme;

/// A compiled windowed aggregate; shared by the partitions.
#[derive(Debug)]
pub(crate) struct WindowAggregate {
    pub(crate) assigner: Assigner,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    functions: Vec<Function>,
    columns: Vec<Column>,
    key_schema: SchemaRef,
    state_schema: SchemaRef,
    output_schema: SchemaRef,
}

#[derive(Debug)]
struct Function {
    expr: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    state_width: usize,
}

/// Where a grouping column of the output comes from.
#[derive(Debug, Clone, Copy)]
enum Column {
    Key(usize),
    WindowStart,
    WindowEnd,
    WindowTime,
}

/// One batch's rows, evaluated: what the accumulators take.
pub(crate) struct Evaluated {
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) arguments: Vec<Vec<ArrayRef>>,
    pub(crate) filters: Vec<Option<BooleanArray>>,
}

impl WindowAggregate {
    /// Compiles the aggregate of a shape over rows of `input_schema` (the output of the stage below it).
    pub(crate) fn try_new(shape: &WindowedShape, input_schema: &DFSchema) -> Result<Self> {
        let props = ExecutionProps::new();
        let planning = PhysicalPlanningContext::default();
        let mut keys = Vec::new();
        let mut columns = Vec::new();
        let mut key_fields = Vec::new();
        for (i, column) in shape.group.iter().enumerate() {
            columns.push(match column {
                GroupColumn::WindowStart => Column::WindowStart,
                GroupColumn::WindowEnd => Column::WindowEnd,
                GroupColumn::WindowTime => Column::WindowTime,
                GroupColumn::Key(expr) => {
                    let expr = create_physical_expr(&expr.clone().unalias(), input_schema, &props, &planning)?;
                    let data_type = expr.data_type(input_schema.as_arrow())?;
                    let nullable = expr.nullable(input_schema.as_arrow())?;
                    key_fields.push(Field::new(format!("group{i}"), data_type, nullable));
                    keys.push(expr);
                    Column::Key(keys.len() - 1)
                }
            });
        }
        let mut functions = Vec::new();
        let mut state_fields = key_fields.clone();
        for expr in &shape.aggregates {
            let lowered =
                LoweredAggregateBuilder::new(expr, input_schema, input_schema.as_arrow(), &props, &planning).build()?;
            if !lowered.order_bys.is_empty() {
                return not_impl_err!("ORDER BY inside an aggregate over a stream: {}", lowered.aggregate.name());
            }
            let fields = lowered.aggregate.state_fields()?;
            for (n, field) in fields.iter().enumerate() {
                let name = format!("state{}.{n}", functions.len());
                state_fields.push(Field::new(name, field.data_type().clone(), true));
            }
            functions.push(Function {
                arguments: lowered.aggregate.expressions(),
                expr: lowered.aggregate,
                filter: lowered.filter,
                state_width: fields.len(),
            });
        }
        let output_schema = output_schema(&columns, &key_fields, &functions);
        Ok(Self {
            assigner: Assigner::new(&shape.window),
            keys,
            functions,
            columns,
            key_schema: Arc::new(Schema::new(key_fields)),
            state_schema: Arc::new(Schema::new(state_fields)),
            output_schema,
        })
    }

    /// Types of the keys.
    pub(crate) fn key_schema(&self) -> &SchemaRef {
        &self.key_schema
    }

    /// Columns of a partial state: the keys, then each function's state.
    pub(crate) fn state_schema(&self) -> &SchemaRef {
        &self.state_schema
    }

    /// Number of columns of each function's state.
    pub(crate) fn state_widths(&self) -> impl Iterator<Item = usize> {
        self.functions.iter().map(|f| f.state_width)
    }

    /// Evaluates keys, arguments and filters over the rows.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> Result<Evaluated> {
        let count = rows.num_rows();
        let array = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(rows)?.into_array(count);
        let keys = self.keys.iter().map(array).collect::<Result<_>>()?;
        let arguments =
            self.functions.iter().map(|f| f.arguments.iter().map(array).collect()).collect::<Result<_>>()?;
        let filters = self
            .functions
            .iter()
            .map(|f| {
                f.filter
                    .as_ref()
                    .map(|filter| Ok(array(filter)?.as_any().downcast_ref().cloned().expect("a filter is boolean")))
                    .transpose()
            })
            .collect::<Result<_>>()?;
        Ok(Evaluated { keys, arguments, filters })
    }

    /// Fresh accumulators, one per function.
    pub(crate) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        self.functions
            .iter()
            .map(|f| {
                if let Some(accumulator) = float_extreme(&f.expr) {
                    return Ok(accumulator);
                }
                if f.expr.groups_accumulator_supported() {
                    return f.expr.create_groups_accumulator();
                }
                let expr = Arc::clone(&f.expr);
                let adapter = GroupsAccumulatorAdapter::new(move || expr.create_accumulator());
                Ok(Box::new(adapter) as Box<dyn GroupsAccumulator>)
            })
            .collect()
    }

    /// A closed window's rows: the grouping columns in their order, then the results.
    pub(crate) fn output(&self, end_us: i64, keys: &[ArrayRef], results: Vec<ArrayRef>) -> Result<RecordBatch> {
        let rows = keys.first().or(results.first()).map_or(1, |column| column.len());
        let start_us = self.assigner.window_start_us(end_us);
        let times = |value: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_value(value, rows).with_timezone("UTC"))
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.output_schema.fields().len());
        for column in &self.columns {
            columns.push(match column {
                Column::Key(i) => Arc::clone(&keys[*i]),
                Column::WindowStart => times(start_us),
                Column::WindowEnd => times(end_us),
                Column::WindowTime => times(end_us - 1),
            });
        }
        columns.extend(results);
        Ok(RecordBatch::try_new(Arc::clone(&self.output_schema), columns)?)
    }
}

fn output_schema(columns: &[Column], keys: &[Field], functions: &[Function]) -> SchemaRef {
    let groups = columns.iter().enumerate().map(|(i, column)| match column {
        Column::Key(k) => keys[*k].clone(),
        _ => Field::new(format!("group{i}"), timestamp_type(), false),
    });
    let results = functions.iter().enumerate().map(|(i, f)| {
        let data_type: DataType = f.expr.field().data_type().clone();
        Field::new(format!("result{i}"), data_type, true)
    });
    Arc::new(Schema::new(groups.chain(results).collect::<Vec<_>>()))
}
