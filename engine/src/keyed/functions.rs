//! An aggregate by key, compiled: where the keys are, what is computed, what a state looks like.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, not_impl_err};
use datafusion::error::Result;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use thermocline_sql::{GroupColumn, KeyedAggregate, timestamp_type};

use super::accumulators::{Accumulators, Computed, SlotAccumulator};
use super::any::AnySlots;
use super::chunked::ChunkedSlots;
use super::count::Count;
use super::float::{FloatFunction, FloatSlots};
use super::integer::IntegerSum;
use super::summary::Summaries;
use crate::session::{physical_expr, simplified};

/// A compiled aggregate by key.
#[derive(Debug)]
pub(crate) struct KeyedFunctions {
    keys: Vec<Key>,
    functions: Vec<Function>,
    columns: Vec<Column>,
    key_schema: SchemaRef,
    output_schema: SchemaRef,
}

/// Where a key comes from.
#[derive(Debug)]
enum Key {
    Expr(Arc<dyn PhysicalExpr>),
    /// From elsewhere than the rows that are evaluated.
    Given,
}

#[derive(Debug)]
struct Function {
    expr: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    types: Vec<DataType>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Where a grouping column of the output comes from.
#[derive(Debug, Clone, Copy)]
enum Column {
    Key(usize),
    WindowStart,
    WindowEnd,
    WindowTime,
}

/// The first and the last moment of a group's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start_us: i64,
    pub(crate) end_us: i64,
}

/// A batch's rows, evaluated.
#[derive(Debug)]
pub(crate) struct KeyedRows {
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) arguments: Vec<Vec<ArrayRef>>,
    pub(crate) filters: Vec<Option<BooleanArray>>,
}

impl KeyedRows {
    /// Puts in a key that does not come from the rows that were evaluated: its value for each of these.
    pub(crate) fn give(&mut self, key: usize, values: ArrayRef) {
        self.keys[key] = values;
    }

    /// Some rows in a row.
    pub(crate) fn slice(&self, start: usize, len: usize) -> Self {
        let slices = |arrays: &[ArrayRef]| arrays.iter().map(|array| array.slice(start, len)).collect::<Vec<_>>();
        Self {
            keys: slices(&self.keys),
            arguments: self.arguments.iter().map(|arguments| slices(arguments)).collect(),
            filters: self.filters.iter().map(|filter| Some(filter.as_ref()?.slice(start, len))).collect(),
        }
    }

    /// The rows of these indices.
    pub(crate) fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let taken = |array: &dyn Array| take(array, indices, None);
        let all = |arrays: &[ArrayRef]| -> Result<Vec<ArrayRef>> { arrays.iter().map(|a| Ok(taken(a)?)).collect() };
        let filter = |filter: &Option<BooleanArray>| {
            filter.as_ref().map(|filter| Ok(taken(filter)?.as_boolean().clone())).transpose()
        };
        Ok(Self {
            keys: all(&self.keys)?,
            arguments: self.arguments.iter().map(|arguments| all(arguments)).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
        })
    }
}

impl KeyedFunctions {
    /// Compiles an aggregate over rows of `input_schema`.
    pub(crate) fn try_new(aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        Self::with_given_keys(aggregate, input_schema, &[])
    }

    /// Compiles an aggregate over rows of `input_schema`. Of each key `given` has the field where it does not come from those
    /// rows, but is [given](KeyedRows::give); it may be shorter.
    pub(crate) fn with_given_keys(
        aggregate: &KeyedAggregate,
        input_schema: &DFSchema,
        given: &[Option<FieldRef>],
    ) -> Result<Self> {
        let props = ExecutionProps::new();
        let planning = PhysicalPlanningContext::default();
        let (mut keys, mut columns, mut key_fields) = (Vec::new(), Vec::new(), Vec::new());
        for (i, column) in aggregate.group.iter().enumerate() {
            columns.push(match column {
                GroupColumn::WindowStart => Column::WindowStart,
                GroupColumn::WindowEnd => Column::WindowEnd,
                GroupColumn::WindowTime => Column::WindowTime,
                GroupColumn::Key(_) if let Some(Some(field)) = given.get(keys.len()) => {
                    key_fields.push(field.as_ref().clone().with_name(format!("group{i}")));
                    keys.push(Key::Given);
                    Column::Key(keys.len() - 1)
                }
                GroupColumn::Key(expr) => {
                    let expr = physical_expr(&expr.clone().unalias(), input_schema)?;
                    let data_type = expr.data_type(input_schema.as_arrow())?;
                    let nullable = expr.nullable(input_schema.as_arrow())?;
                    key_fields.push(Field::new(format!("group{i}"), data_type, nullable));
                    keys.push(Key::Expr(expr));
                    Column::Key(keys.len() - 1)
                }
            });
        }
        let mut functions = Vec::new();
        for expr in &aggregate.aggregates {
            let expr = &with_simple_arguments(expr, input_schema)?;
            let lowered =
                LoweredAggregateBuilder::new(expr, input_schema, input_schema.as_arrow(), &props, &planning).build()?;
            if !lowered.order_bys.is_empty() {
                return not_impl_err!("ORDER BY inside an aggregate over a stream: {}", lowered.aggregate.name());
            }
            let arguments = lowered.aggregate.expressions();
            let types = arguments.iter().map(|argument| argument.data_type(input_schema.as_arrow()));
            functions.push(Function {
                types: types.collect::<Result<_>>()?,
                arguments,
                expr: lowered.aggregate,
                filter: lowered.filter,
            });
        }
        let output_schema = output_schema(&columns, &key_fields, &functions);
        Ok(Self { keys, functions, columns, key_schema: Arc::new(Schema::new(key_fields)), output_schema })
    }

    /// Types of the keys.
    pub(crate) fn key_schema(&self) -> &SchemaRef {
        &self.key_schema
    }

    /// Columns of the functions' states.
    pub(crate) fn state_fields(&self) -> Result<Vec<Field>> {
        Ok(self.state_fields_by_function()?.into_iter().flatten().collect())
    }

    /// The same, those of each function by themselves.
    pub(crate) fn state_fields_by_function(&self) -> Result<Vec<Vec<Field>>> {
        // What an accumulator without rows would store tells the types.
        let fields = self.functions.iter().enumerate().map(|(n, function)| {
            let mut empty = function.accumulator();
            empty.grow(1);
            let state = empty.state(&[0])?;
            let field =
                |(i, column): (usize, &ArrayRef)| Field::new(format!("state{n}.{i}"), column.data_type().clone(), true);
            Ok(state.iter().enumerate().map(field).collect())
        });
        fields.collect()
    }

    /// Accumulators without rows.
    pub(crate) fn accumulators(&self) -> Result<Accumulators> {
        let mut widths = Vec::new();
        for function in &self.functions {
            let mut empty = function.accumulator();
            empty.grow(1);
            widths.push(empty.state(&[0])?.len());
        }
        let mut together: Vec<Vec<usize>> = Vec::new();
        for (n, function) in self.functions.iter().enumerate() {
            match together.iter_mut().find(|others| self.functions[others[0]].goes_with(function)) {
                Some(others) => others.push(n),
                None => together.push(vec![n]),
            }
        }
        let computed = together.into_iter().map(|functions| {
            let accumulator = match functions.as_slice() {
                [only] => self.functions[*only].accumulator(),
                several => {
                    let several = several.iter().filter_map(|n| self.functions[*n].of_float());
                    Box::new(Summaries::new(several.collect())) as Box<dyn SlotAccumulator>
                }
            };
            Computed { accumulator, functions }
        });
        Ok(Accumulators::new(computed.collect(), widths))
    }

    /// Evaluates keys, arguments and filters over the rows; keys that are given are to be put in.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> Result<KeyedRows> {
        let array = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(rows)?.into_array(rows.num_rows());
        let key = |key: &Key| match key {
            Key::Expr(expr) => array(expr),
            Key::Given => Ok(new_null_array(&DataType::Null, rows.num_rows())),
        };
        let filter = |f: &Function| {
            let filter = f.filter.as_ref().map(|filter| Ok(array(filter)?.as_boolean().clone()));
            filter.transpose()
        };
        let arguments = |f: &Function| f.arguments.iter().map(array).collect::<Result<Vec<_>>>();
        Ok(KeyedRows {
            keys: self.keys.iter().map(key).collect::<Result<_>>()?,
            arguments: self.functions.iter().map(arguments).collect::<Result<_>>()?,
            filters: self.functions.iter().map(filter).collect::<Result<_>>()?,
        })
    }

    /// Ended groups as rows: the grouping columns in their order, then the results.
    pub(crate) fn output(&self, bounds: &[Bounds], keys: &[ArrayRef], results: Vec<ArrayRef>) -> Result<RecordBatch> {
        let times = |time: fn(&Bounds) -> i64| -> ArrayRef {
            let times = TimestampMicrosecondArray::from_iter_values(bounds.iter().map(time));
            Arc::new(times.with_timezone("UTC"))
        };
        let groups = self.columns.iter().map(|column| match column {
            Column::Key(i) => Arc::clone(&keys[*i]),
            Column::WindowStart => times(|bounds| bounds.start_us),
            Column::WindowEnd => times(|bounds| bounds.end_us),
            Column::WindowTime => times(|bounds| bounds.end_us - 1),
        });
        let columns = groups.chain(results).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.output_schema), columns)?)
    }
}

impl Function {
    /// Our own accumulator where there is one, or else DataFusion's, one per slot.
    fn accumulator(&self) -> Box<dyn SlotAccumulator> {
        let any = || Box::new(AnySlots::new(Arc::clone(&self.expr)));
        if let Some(function) = self.of_float() {
            return Box::new(FloatSlots::new(function));
        }
        if self.expr.is_distinct() {
            return any();
        }
        match (self.expr.fun().name(), self.types.as_slice()) {
            ("count", _) => Box::new(Count::default()),
            ("sum", [DataType::Int64]) => Box::new(IntegerSum::default()),
            (name, _) if EXACT.contains(&name) => any(),
            (_, []) => any(),
            _ => Box::new(ChunkedSlots::new(Arc::clone(&self.expr), self.types.clone())),
        }
    }

    /// Which of the functions of floats that are our own it is.
    fn of_float(&self) -> Option<FloatFunction> {
        if self.expr.is_distinct() || self.types != [DataType::Float64] {
            return None;
        }
        match self.expr.fun().name() {
            "sum" => Some(FloatFunction::Sum),
            "avg" => Some(FloatFunction::Avg),
            "min" => Some(FloatFunction::Min),
            "max" => Some(FloatFunction::Max),
            "var" => Some(FloatFunction::VarianceSample),
            "var_pop" => Some(FloatFunction::VariancePopulation),
            "stddev" => Some(FloatFunction::DeviationSample),
            "stddev_pop" => Some(FloatFunction::DeviationPopulation),
            _ => None,
        }
    }

    /// Whether both are computed in one go: of the same values.
    fn goes_with(&self, other: &Self) -> bool {
        let is_of_summary = |function: &Self| function.of_float().is_some_and(FloatFunction::is_of_summary);
        is_of_summary(self) && is_of_summary(other) && self.arguments == other.arguments && self.filter == other.filter
    }
}

/// Functions of DataFusion and of the dialect that give the same to the bit, however their rows are cut into batches and their states stored and
/// merged in the order of the rows.
const EXACT: [&str; 33] = [
    "approx_distinct",
    "approx_percentile",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "deadband",
    "delta",
    "ewma",
    "first",
    "first_value",
    "grouping",
    "had_changed",
    "idelta",
    "increase",
    "integral",
    "irate",
    "last",
    "last_value",
    "locf",
    "max",
    "median",
    "min",
    "nth_value",
    "rate",
    "string_agg",
    "sum",
    "time_weighted_avg",
    "zscore",
];

/// A call of an aggregate function whose arguments and filter can be run as they are.
fn with_simple_arguments(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::Alias(alias) => Ok(with_simple_arguments(&alias.expr, schema)?.alias(&alias.name)),
        Expr::AggregateFunction(call) => {
            let mut call = call.clone();
            call.params.args =
                call.params.args.into_iter().map(|argument| simplified(argument, schema)).collect::<Result<_>>()?;
            let filter = call.params.filter.map(|filter| simplified(*filter, schema).map(Box::new));
            call.params.filter = filter.transpose()?;
            Ok(Expr::AggregateFunction(call))
        }
        other => Ok(other.clone()),
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
