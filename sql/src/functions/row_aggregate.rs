//! A row function as an aggregate of all rows up to the current one: on a stream rows come one by one, and what the function
//! remembers is stored and taken up again.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::{size_of, size_of_val};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::row::{Memory, RowFunction};

/// A row function whose memory can be stored, and that needs no row after the current one.
pub(super) trait Storable: RowFunction<Memory: Stored> {
    /// Types of the columns of a stored memory.
    fn stored_types(types: &[DataType]) -> Vec<DataType>;
}

/// A memory that can be stored.
pub(super) trait Stored: Memory + Sync {
    /// The columns.
    fn store(&self) -> Vec<ScalarValue>;

    /// The memory that was stored.
    fn take_up(&mut self, stored: &[ScalarValue]) -> Result<()>;
}

/// The function as an aggregate.
pub(super) fn running<R: Storable>() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::new_from_impl(Running::<R> { signature, function: PhantomData })
}

#[derive(Debug)]
struct Running<R> {
    signature: Signature,
    function: PhantomData<R>,
}

impl<R> PartialEq for Running<R> {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl<R> Eq for Running<R> {}

impl<R> Hash for Running<R> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl<R: Storable> AggregateUDFImpl for Running<R> {
    fn name(&self) -> &str {
        R::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        R::coerce(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(R::result_type(types))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let types: Vec<DataType> = args.input_fields.iter().map(|field| field.data_type().clone()).collect();
        let field =
            |(n, data_type)| Arc::new(Field::new(format_state_name(args.name, &format!("{n}")), data_type, true));
        Ok(R::stored_types(&types).into_iter().enumerate().map(field).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let types: Vec<DataType> = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        let last = ScalarValue::try_from(&R::result_type(&types))?;
        Ok(Box::new(Latest { memory: R::memory(&types, args.exprs)?, last }))
    }
}

/// What is remembered, and the result of the last row.
#[derive(Debug)]
struct Latest<M> {
    memory: M,
    last: ScalarValue,
}

impl<M: Stored> Accumulator for Latest<M> {
    fn update_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        for row in 0..args[0].len() {
            self.last = self.memory.next(args, row, None)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.last.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.memory.store())
    }

    /// Only an accumulator without rows is given a state, and only one.
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let stored: Vec<ScalarValue> =
            states.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect::<Result<_>>()?;
        self.memory.take_up(&stored)
    }

    fn size(&self) -> usize {
        let heap = |value: &ScalarValue| value.size() - size_of_val(value);
        size_of::<Self>() + heap(&self.last) + self.memory.store().iter().map(heap).sum::<usize>()
    }
}
