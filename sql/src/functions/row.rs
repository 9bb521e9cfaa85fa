//! A function of a row and the rows before it, as DataFusion runs it: `OVER (PARTITION BY … ORDER BY time)`.
//!
//! Rows come one by one in the order of the window, each once. What a function remembers is of constant size, so that it
//! runs in bounded memory; the frame of the window does not matter to it.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{Documentation, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;

use super::aggregate::documentation;

/// A row function as it is called.
pub(super) trait RowFunction: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// What it remembers of the rows before.
    type Memory: Memory;
    /// Its name in SQL.
    const NAME: &'static str;
    /// How it is called.
    const USAGE: &'static str;
    /// What it is, in one line.
    const DESCRIPTION: &'static str;

    /// The types that arguments of these types are converted to.
    fn coerce(types: &[DataType]) -> Result<Vec<DataType>>;

    /// The type of the result.
    fn result_type(types: &[DataType]) -> DataType;

    /// The memory before the first row.
    fn memory(types: &[DataType], args: &[Arc<dyn PhysicalExpr>]) -> Result<Self::Memory>;
}

/// What a row function remembers of the rows before.
pub(super) trait Memory: Debug + Send + 'static {
    /// Whether the result of a row needs the row after it.
    const LOOKS_AHEAD: bool = false;

    /// The result of the next row. `following` is the row after it, if there is one and the function looks ahead.
    fn next(&mut self, args: &[ArrayRef], row: usize, following: Option<usize>) -> Result<ScalarValue>;
}

/// The function as one of a session.
pub(super) fn function<R: RowFunction>() -> WindowUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    let documentation = documentation(R::DESCRIPTION, R::USAGE);
    WindowUDF::new_from_impl(Function::<R> { signature, documentation, function: PhantomData })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function<R> {
    signature: Signature,
    documentation: Documentation,
    function: PhantomData<R>,
}

impl<R: RowFunction> WindowUDFImpl for Function<R> {
    fn name(&self) -> &str {
        R::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        R::coerce(types)
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.input_fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(args.name(), R::result_type(&R::coerce(&types)?), true)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        // What would be passed over without a word is an error.
        if args.ignore_nulls() {
            return plan_err!("{} does not take IGNORE NULLS", R::NAME);
        }
        let types: Vec<DataType> = args.input_fields().iter().map(|field| field.data_type().clone()).collect();
        let memory = R::memory(&types, args.input_exprs())?;
        Ok(Box::new(Evaluator { memory, result_type: R::result_type(&types) }))
    }
}

#[derive(Debug)]
struct Evaluator<M> {
    memory: M,
    result_type: DataType,
}

impl<M: Memory> PartitionEvaluator for Evaluator<M> {
    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        let end = if M::LOOKS_AHEAD { row + 2 } else { row + 1 };
        Ok(row..end.min(rows))
    }

    fn is_causal(&self) -> bool {
        !M::LOOKS_AHEAD
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if rows == 0 {
            return Ok(new_empty_array(&self.result_type));
        }
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            results.push(self.evaluate(values, &self.get_range(row, rows)?)?);
        }
        ScalarValue::iter_to_array(results)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let following = Some(range.start + 1).filter(|next| *next < range.end);
        self.memory.next(values, range.start, following)
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}
