//! Logical plan nodes of the dialect that DataFusion does not have.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::shape::{KeyedWindow, WindowFunction};

/// The columns that a window function in FROM adds, in this order.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// The type of every event time.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A window function in FROM: every input row once per window it falls into, with the window's columns added.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// The rows.
    pub input: Arc<LogicalPlan>,
    /// The time column of the input.
    pub time: Column,
    /// The windows.
    pub window: WindowFunction,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// A window function over `input`.
    ///
    /// # Errors
    /// When the input already has a column that the window would add.
    pub fn try_new(input: LogicalPlan, time: Column, window: WindowFunction) -> Result<Self> {
        let qualifier: Option<TableReference> =
            input.schema().qualified_field_from_column(&time).ok().and_then(|(qualifier, _)| qualifier.cloned());
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        for name in WINDOW_COLUMNS {
            fields.push((qualifier.clone(), Arc::new(Field::new(name, timestamp_type(), false))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input: Arc::new(input), time, window, schema })
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (&self.input, &self.time, &self.window).partial_cmp(&(&other.input, &other.time, &other.window))
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let time = Expr::Column(self.time.clone());
        match &self.window {
            WindowFunction::State { start, end } => vec![time, (**start).clone(), (**end).clone()],
            _ => vec![time],
        }
    }

    /// Only what looks at the window's own columns has to stay above: a row's windows depend on its time alone.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.iter().map(|name| (*name).to_owned()).collect()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let inputs = self.input.schema().fields().len();
        let mut needed: BTreeSet<usize> = output_columns.iter().copied().filter(|n| *n < inputs).collect();
        for expr in self.expressions() {
            for column in expr.column_refs() {
                needed.insert(self.input.schema().maybe_index_of_column(column)?);
            }
        }
        Some(vec![needed.into_iter().collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window: {} by {}", self.window, self.time)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let (Some(Expr::Column(time)), Some(input)) = (exprs.next(), inputs.into_iter().next()) else {
            return plan_err!("a window takes one input and one time column");
        };
        let window = match (&self.window, exprs.next(), exprs.next()) {
            (WindowFunction::State { .. }, Some(start), Some(end)) => {
                WindowFunction::State { start: Box::new(start), end: Box::new(end) }
            }
            (window, _, _) => window.clone(),
        };
        Self::try_new(input, time, window)
    }
}

/// An aggregate over a `SESSION`, `COUNT_WINDOW` or `STATE_WINDOW` of rows that have an end: it takes them sorted by
/// event time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyedWindowNode {
    /// The columns that the aggregate takes, and [`KEYED_WINDOW_TIME`].
    pub input: Arc<LogicalPlan>,
    /// What is computed.
    pub window: KeyedWindow,
    schema: DFSchemaRef,
}

/// Name of the column of a [`KeyedWindowNode`]'s input that its rows are sorted by.
pub const KEYED_WINDOW_TIME: &str = "__time";

impl KeyedWindowNode {
    /// `schema`: the columns of the aggregate.
    #[must_use]
    pub fn new(input: LogicalPlan, window: KeyedWindow, schema: DFSchemaRef) -> Self {
        Self { input: Arc::new(input), window, schema }
    }
}

impl PartialOrd for KeyedWindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (&self.input, &self.window).partial_cmp(&(&other.input, &other.window))
    }
}

impl UserDefinedLogicalNodeCore for KeyedWindowNode {
    fn name(&self) -> &str {
        "KeyedWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// None that may be changed: the aggregate is over the input's columns by name.
    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<String> = self.window.aggregate.aggregates.iter().map(ToString::to_string).collect();
        write!(f, "KeyedWindow: {} aggr=[[{}]]", self.window.function, functions.join(", "))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.into_iter().next() else { return plan_err!("a window takes one input") };
        Ok(Self { input: Arc::new(input), ..self.clone() })
    }
}

/// Stands for rows that another part of the query makes; the engine puts the real source in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlaceholderNode {
    /// Which source.
    pub name: String,
    schema: DFSchemaRef,
}

impl PlaceholderNode {
    /// A source of rows with this schema.
    #[must_use]
    pub fn new(name: impl Into<String>, schema: DFSchemaRef) -> Self {
        Self { name: name.into(), schema }
    }
}

impl PartialOrd for PlaceholderNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.name.partial_cmp(&other.name)
    }
}

impl UserDefinedLogicalNodeCore for PlaceholderNode {
    fn name(&self) -> &str {
        "Placeholder"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placeholder: {}", self.name)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}
