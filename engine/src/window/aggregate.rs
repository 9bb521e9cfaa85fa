//! A windowed aggregate, compiled: windows, keys, functions, what a state looks like.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use thermocline_sql::{KeyedAggregate, WindowedShape};

use super::assign::Assigner;
use crate::keyed::{Bounds, KeyedFunctions, KeyedRows};

/// A compiled windowed aggregate; shared by the partitions.
#[derive(Debug)]
pub(crate) struct WindowAggregate {
    pub(super) assigner: Assigner,
    pub(super) functions: KeyedFunctions,
    state_schema: SchemaRef,
}

impl WindowAggregate {
    /// Compiles the aggregate of a shape over rows of `input_schema` (the output of the stage below it). Of each key
    /// `given` has the field where it does not come from those rows, but is [given](KeyedRows::give).
    pub(crate) fn try_new(shape: &WindowedShape, input_schema: &DFSchema, given: &[Option<FieldRef>]) -> Result<Self> {
        let aggregate = KeyedAggregate { group: shape.group.clone(), aggregates: shape.aggregates.clone() };
        let functions = KeyedFunctions::with_given_keys(&aggregate, input_schema, given)?;
        let keys = functions.key_schema().fields().iter().cloned();
        // Named after what they are: a query finds its own in a state that it shared with others.
        let mut states = Vec::new();
        for (function, fields) in shape.aggregates.iter().zip(functions.state_fields_by_function()?) {
            let function = function.clone().unalias();
            let fields = fields.into_iter().enumerate();
            states.extend(fields.map(|(i, field)| Arc::new(field.with_name(format!("{function}.{i}")))));
        }
        let state_schema = Arc::new(Schema::new(keys.chain(states).collect::<Vec<_>>()));
        Ok(Self { assigner: Assigner::new(&shape.window), functions, state_schema })
    }

    /// Columns of a stored pane: the keys, then each function's state.
    pub(super) fn state_schema(&self) -> &SchemaRef {
        &self.state_schema
    }

    /// Evaluates keys that are not given, arguments and filters over the rows.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> Result<KeyedRows> {
        self.functions.evaluate(rows)
    }

    /// The rows of windows: the grouping columns in their order, then the results. Of each window its end and how many rows
    /// it has.
    pub(super) fn output(
        &self,
        windows: impl Iterator<Item = (i64, usize)>,
        keys: &[ArrayRef],
        results: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let mut bounds = Vec::new();
        for (end_us, rows) in windows {
            let of_window = Bounds { start_us: self.assigner.window_start_us(end_us), end_us };
            bounds.resize(bounds.len() + rows, of_window);
        }
        self.functions.output(&bounds, keys, results)
    }
}
