//! Aggregates that need every sample in the order of time: a state is the samples themselves, 16 bytes each.
//!
//! Samples are in one order whatever way they came: by time, those of one time by value, NaN last. The result is a fold
//! over them in that order, so that it has the same bits for any batches and any merging.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::Hash;
use std::mem::size_of;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, Int64Builder, ListBuilder};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::PhysicalExpr;

use super::aggregate::{Aggregate, Kernel, Rows};
use super::arguments::{canonical, numbers, sample_types, times};
use super::in_order::InOrder;
use super::numbers::Numbers;

/// A value and its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) time_us: i64,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn new(time_us: i64, value: f64) -> Self {
        Self { time_us, value: canonical(value) }
    }

    /// The order of samples.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.time_us.cmp(&other.time_us).then_with(|| self.value.total_cmp(&other.value))
    }

    /// Microseconds from an earlier sample to this.
    pub(super) fn since_us(&self, earlier: &Self) -> f64 {
        self.time_us.saturating_sub(earlier.time_us) as f64
    }
}

/// What is computed of samples, one after the other.
pub(super) trait Fold: Debug + Clone + Send + Sync + 'static {
    /// Takes the next sample.
    fn step(&mut self, sample: Sample);
    /// The result so far.
    fn result(&self) -> Option<f64>;
    /// Walks over all that it remembers; constants are no part of it.
    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()>;
}

/// An aggregate `name(value, time, constants…)` that folds samples.
pub(super) trait SampleAggregate: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    type Fold: Fold;
    const NAME: &'static str;
    /// How it is called.
    const USAGE: &'static str;
    /// What it is, in one line.
    const DESCRIPTION: &'static str;
    /// How many constants there may be.
    const CONSTANTS: RangeInclusive<usize> = 0..=0;

    /// The fold before the first sample.
    fn fold(constants: &[Arc<dyn PhysicalExpr>]) -> Result<Self::Fold>;
}

impl<S: SampleAggregate> Aggregate for S {
    type Kernel = SampleKernel<S::Fold>;
    const NAME: &'static str = <S as SampleAggregate>::NAME;
    const USAGE: &'static str = <S as SampleAggregate>::USAGE;
    const DESCRIPTION: &'static str = <S as SampleAggregate>::DESCRIPTION;

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        sample_types(<S as SampleAggregate>::USAGE, types, S::CONSTANTS)
    }

    fn state(_types: &[DataType]) -> Vec<Field> {
        vec![
            Field::new_list("times", Field::new_list_field(DataType::Int64, true), true),
            Field::new_list("values", Field::new_list_field(DataType::Float64, true), true),
        ]
    }

    fn in_order(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(InOrder::new(Self::kernel(args)?.start)))
    }

    fn kernel(args: &AccumulatorArgs<'_>) -> Result<Self::Kernel> {
        Ok(SampleKernel { start: S::fold(args.exprs.get(2..).unwrap_or_default())? })
    }
}

/// Folds the samples of each group.
#[derive(Debug)]
pub(super) struct SampleKernel<F> {
    start: F,
}

impl<F: Fold> SampleKernel<F> {
    pub(super) fn new(start: F) -> Self {
        Self { start }
    }
}

/// The samples of a group.
#[derive(Debug)]
pub(super) struct Samples<F> {
    list: VecDeque<Sample>,
    /// The list is in order.
    sorted: bool,
    /// How many samples from the front were folded, and into what: the next result goes on from there.
    folded: Option<(usize, F)>,
}

impl<F> Default for Samples<F> {
    fn default() -> Self {
        Self { list: VecDeque::new(), sorted: true, folded: None }
    }
}

impl<F: Fold> Samples<F> {
    /// Adds a sample; returns by how many bytes that made the list longer.
    fn push(&mut self, sample: Sample) -> usize {
        let capacity = self.list.capacity();
        self.sorted &= self.list.back().is_none_or(|last| last.order(&sample) != Ordering::Greater);
        self.list.push_back(sample);
        (self.list.capacity() - capacity) * size_of::<Sample>()
    }

    fn remove(&mut self, sample: Sample) -> Result<()> {
        self.sort();
        let Ok(index) = self.list.binary_search_by(|other| other.order(&sample)) else {
            return internal_err!("a sample leaves a frame that it never entered");
        };
        self.list.remove(index);
        self.folded = None;
        Ok(())
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.list.make_contiguous().sort_by(Sample::order);
            self.sorted = true;
            self.folded = None;
        }
    }

    fn result(&mut self, start: &F) -> Option<f64> {
        self.sort();
        let (done, mut fold) = self.folded.take().unwrap_or_else(|| (0, start.clone()));
        self.list.range(done..).for_each(|sample| fold.step(*sample));
        let result = fold.result();
        self.folded = Some((self.list.len(), fold));
        result
    }
}

impl<F: Fold> Kernel for SampleKernel<F> {
    type Group = Samples<F>;
    const RETRACTS: bool = true;

    fn update(&self, groups: &mut [Samples<F>], args: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        let (values, times) = (numbers(&args[0])?, times(&args[1])?);
        let mut grown_bytes = 0;
        for (row, group) in rows.iter() {
            if values.is_valid(row) && times.is_valid(row) {
                grown_bytes += groups[group].push(Sample::new(times.value(row), values.value(row)));
            }
        }
        Ok(grown_bytes)
    }

    fn merge(&self, groups: &mut [Samples<F>], states: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        let (all_times, all_values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        let mut grown_bytes = 0;
        for (row, group) in rows.iter() {
            if all_times.is_null(row) {
                continue;
            }
            let (times, values) = (all_times.value(row), all_values.value(row));
            let (times, values) = (times.as_primitive::<Int64Type>(), values.as_primitive::<Float64Type>());
            for (time_us, value) in times.values().iter().zip(values.values()) {
                grown_bytes += groups[group].push(Sample::new(*time_us, *value));
            }
        }
        Ok(grown_bytes)
    }

    fn retract(&self, group: &mut Samples<F>, args: &[ArrayRef]) -> Result<()> {
        let (values, times) = (numbers(&args[0])?, times(&args[1])?);
        for row in (0..values.len()).filter(|row| values.is_valid(*row) && times.is_valid(*row)) {
            group.remove(Sample::new(times.value(row), values.value(row)))?;
        }
        Ok(())
    }

    fn states(&self, groups: &mut [Samples<F>]) -> Result<Vec<ArrayRef>> {
        let mut times = ListBuilder::new(Int64Builder::new());
        let mut values = ListBuilder::new(Float64Builder::new());
        for group in groups {
            group.sort();
            for sample in &group.list {
                times.values().append_value(sample.time_us);
                values.values().append_value(sample.value);
            }
            times.append(true);
            values.append(true);
        }
        Ok(vec![Arc::new(times.finish()), Arc::new(values.finish())])
    }

    fn results(&self, groups: &mut [Samples<F>]) -> Result<ArrayRef> {
        let results = groups.iter_mut().map(|group| group.result(&self.start));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn heap_bytes(group: &Samples<F>) -> usize {
        group.list.capacity() * size_of::<Sample>()
    }
}
