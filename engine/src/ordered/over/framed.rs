//! Functions of a frame, computed anew from the frame's rows: a result depends on them alone, to the bit.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array, new_empty_array};
use arrow::compute::{concat, interleave, take};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::window::StandardWindowFunctionExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::windows::create_udwf_window_expr;
use thermocline_sql::{Frame, KeyedAggregate, OverCall, OverFunction};

use super::keys::Entries;
use crate::error::Result;
use crate::keyed::{Accumulators, KeyedFunctions};

/// Values of frames that are put side by side at once.
const CHUNK_VALUES: usize = 65_536;

/// Functions of one frame.
#[derive(Debug)]
pub(super) struct Framed {
    rows: Rows,
    computed: Computed,
    /// The calls that the results belong to.
    pub(super) calls: Vec<usize>,
}

/// Which rows, relative to the current one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rows {
    Frame(Frame),
    /// The only row at this distance.
    At(i64),
}

#[derive(Debug)]
enum Computed {
    /// Aggregates of the same frame.
    Aggregates {
        functions: KeyedFunctions,
        accumulators: Accumulators,
    },
    /// The value of the only row, the default where there is none.
    Shifted {
        value: Arc<dyn PhysicalExpr>,
        default: ScalarValue,
    },
    /// The value of the first or the last row.
    Edge {
        value: Arc<dyn PhysicalExpr>,
        is_first: bool,
    },
    Function(Arc<dyn StandardWindowFunctionExpr>),
}

/// How far frames reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Rows back.
    pub(super) rows: usize,
    /// Microseconds back, where a frame goes by time.
    pub(super) range_us: Option<i64>,
    /// Rows ahead.
    pub(super) ahead_rows: usize,
    /// Microseconds ahead.
    pub(super) ahead_us: i64,
}

impl Reach {
    fn add(&mut self, rows: Rows) {
        let (start, end) = match rows {
            Rows::Frame(Frame::Range { start_us, end_us }) => {
                self.range_us = Some(self.range_us.unwrap_or(0).max(start_us.saturating_neg()));
                self.ahead_us = self.ahead_us.max(end_us);
                return;
            }
            Rows::Frame(Frame::Rows { start, end }) => (start, end),
            Rows::At(offset) => (offset, offset),
        };
        self.rows = self.rows.max(usize::try_from(start.saturating_neg()).unwrap_or(0));
        self.ahead_rows = self.ahead_rows.max(usize::try_from(end).unwrap_or(0));
    }

    /// How far all of these reach; a call that looks ahead also needs its own row.
    pub(super) fn of<'a>(framed: impl Iterator<Item = &'a Framed>) -> Self {
        let mut reach = Self::default();
        framed.for_each(|framed| reach.add(framed.rows));
        reach
    }
}

impl Framed {
    /// The functions of these calls, those of a frame together, over rows of `schema`.
    pub(super) fn of_calls(calls: &[(usize, &OverCall)], schema: &DFSchema) -> Result<Vec<Self>> {
        let compiled =
            |expr| create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default());
        let mut all = Vec::new();
        let mut aggregates: Vec<(Frame, Vec<usize>, KeyedAggregate)> = Vec::new();
        for (n, call) in calls {
            match &call.function {
                OverFunction::Number(_) | OverFunction::Running { .. } => {}
                OverFunction::Aggregate { aggregate, frame } => {
                    match aggregates.iter_mut().find(|(known, ..)| known == frame) {
                        Some((_, calls, known)) => {
                            calls.push(*n);
                            known.aggregates.push(aggregate.clone());
                        }
                        None => {
                            let aggregate = KeyedAggregate { group: Vec::new(), aggregates: vec![aggregate.clone()] };
                            aggregates.push((*frame, vec![*n], aggregate));
                        }
                    }
                }
                OverFunction::Shift { value, offset, default } => {
                    let computed = Computed::Shifted { value: compiled(value)?, default: default.clone() };
                    all.push(Self { rows: Rows::At(*offset), computed, calls: vec![*n] });
                }
                OverFunction::Window { function, arguments, ignore_nulls, frame } => {
                    let arguments = arguments.iter().map(compiled).collect::<Result<Vec<_>, _>>()?;
                    let computed = match function.name() {
                        name @ ("first_value" | "last_value") if !ignore_nulls => {
                            Computed::Edge { value: Arc::clone(&arguments[0]), is_first: name == "first_value" }
                        }
                        name => Computed::Function(create_udwf_window_expr(
                            function,
                            &arguments,
                            schema.as_arrow(),
                            name.to_owned(),
                            *ignore_nulls,
                        )?),
                    };
                    all.push(Self { rows: Rows::Frame(*frame), computed, calls: vec![*n] });
                }
            }
        }
        for (frame, calls, aggregate) in aggregates {
            let functions = KeyedFunctions::try_new(&aggregate, schema)?;
            let accumulators = functions.accumulators()?;
            all.push(Self {
                rows: Rows::Frame(frame),
                computed: Computed::Aggregates { functions, accumulators },
                calls,
            });
        }
        Ok(all)
    }

    /// The rows of the frame of a key's row; an empty range where there are none.
    pub(super) fn range(&self, entries: &Entries, row: usize) -> Range<usize> {
        let at = |distance: i64| (row as i64).saturating_add(distance).clamp(0, entries.len() as i64) as usize;
        let (start, end) = match self.rows {
            Rows::Frame(Frame::Rows { start, end }) => (at(start), at(end.saturating_add(1))),
            Rows::At(offset) => match (row as i64).checked_add(offset) {
                Some(only) if (0..entries.len() as i64).contains(&only) => (only as usize, only as usize + 1),
                _ => (0, 0),
            },
            Rows::Frame(Frame::Range { start_us, end_us }) => {
                let time_us = entries[row].time_us;
                let (first_us, last_us) = (time_us.saturating_add(start_us), time_us.saturating_add(end_us));
                let start = entries.partition_point(|entry| entry.time_us < first_us);
                (start, entries.partition_point(|entry| entry.time_us <= last_us))
            }
        };
        start..end.max(start)
    }

    /// The results of the calls for frames of these rows.
    pub(super) fn evaluate(&mut self, rows: &RecordBatch, frames: &[Range<usize>]) -> Result<Vec<ArrayRef>> {
        let array = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(rows)?.into_array(rows.num_rows());
        Ok(match &mut self.computed {
            Computed::Aggregates { functions, accumulators } => aggregates(functions, accumulators, rows, frames)?,
            Computed::Shifted { value, default } => {
                let values = array(value)?;
                let default = default.to_array()?;
                let places = frames.iter().map(|frame| match frame.is_empty() {
                    true => (1, 0),
                    false => (0, frame.start),
                });
                vec![interleave(&[values.as_ref(), default.as_ref()], &places.collect::<Vec<_>>())?]
            }
            Computed::Edge { value, is_first } => {
                let values = array(value)?;
                let place = |frame: &Range<usize>| match frame.is_empty() {
                    true => None,
                    false => Some(if *is_first { frame.start } else { frame.end - 1 } as u64),
                };
                vec![take(&values, &UInt64Array::from_iter(frames.iter().map(place)), None)?]
            }
            Computed::Function(function) => {
                let values = function.evaluate_args(rows)?;
                let result = |frame| function.create_evaluator()?.evaluate(&values, frame);
                let results = frames.iter().map(result).collect::<Result<Vec<_>, _>>()?;
                match results.is_empty() {
                    true => vec![new_empty_array(function.field()?.data_type())],
                    false => vec![ScalarValue::iter_to_array(results)?],
                }
            }
        })
    }
}

/// Each frame is a group of its own; its rows stand side by side, those of the next frame after them.
fn aggregates(
    functions: &KeyedFunctions,
    accumulators: &mut Accumulators,
    rows: &RecordBatch,
    frames: &[Range<usize>],
) -> Result<Vec<ArrayRef>> {
    let evaluated = functions.evaluate(rows)?;
    let mut results: Vec<Vec<ArrayRef>> = Vec::new();
    let mut rest = frames;
    loop {
        let mut values = 0;
        let fit = rest.iter().take_while(|frame| {
            let had = values;
            values += frame.len();
            had == 0 || values <= CHUNK_VALUES
        });
        let (chunk, after) = rest.split_at(fit.count());
        rest = after;
        let slots: Vec<u32> = chunk.iter().map(|_| accumulators.allocate()).collect();
        let indices: UInt32Array = chunk.iter().flat_map(|frame| frame.start as u32..frame.end as u32).collect();
        let of_values: Vec<u32> =
            chunk.iter().zip(&slots).flat_map(|(frame, slot)| std::iter::repeat_n(*slot, frame.len())).collect();
        let taken = |array: &ArrayRef| take(array, &indices, None);
        let arguments = evaluated.arguments.iter().map(|arguments| arguments.iter().map(taken).collect());
        let arguments: Vec<Vec<ArrayRef>> = arguments.collect::<Result<_, _>>()?;
        let filter = |filter: &Option<BooleanArray>| {
            let taken = filter.as_ref().map(|filter| take(filter, &indices, None));
            taken.transpose().map(|taken| taken.map(|filter| filter.as_boolean().clone()))
        };
        let filters: Vec<Option<BooleanArray>> = evaluated.filters.iter().map(filter).collect::<Result<_, _>>()?;
        accumulators.update(&arguments, &filters, &of_values)?;
        results.push(accumulators.take(&slots)?);
        if rest.is_empty() {
            break;
        }
    }
    let functions = results[0].len();
    let column = |n: usize| -> Result<ArrayRef> {
        let chunks: Vec<&dyn arrow::array::Array> = results.iter().map(|chunk| chunk[n].as_ref()).collect();
        Ok(concat(&chunks)?)
    };
    (0..functions).map(column).collect()
}
