//! `delta(value, time)`: the last value minus the first. A state is these two samples.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::aggregate::{Aggregate, Kernel, Rows, Single};
use super::arguments::{numbers, sample_types, times};
use super::numbers::Numbers;
use super::samples::{Fold, Sample, SampleKernel};

const USAGE: &str = "delta(value, time)";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Delta;

impl Aggregate for Delta {
    type Kernel = DeltaKernel;
    const NAME: &'static str = "delta";
    const USAGE: &'static str = USAGE;
    const DESCRIPTION: &'static str = "The last value minus the first.";

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        sample_types(USAGE, types, 0..=0)
    }

    fn state(_types: &[DataType]) -> Vec<Field> {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        vec![
            field("first_time", DataType::Int64),
            field("first_value", DataType::Float64),
            field("last_time", DataType::Int64),
            field("last_value", DataType::Float64),
        ]
    }

    fn kernel(_args: &AccumulatorArgs<'_>) -> Result<DeltaKernel> {
        Ok(DeltaKernel)
    }

    fn sliding(_args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(SampleKernel::new(Ends::default()))))
    }
}

#[derive(Debug)]
pub(super) struct DeltaKernel;

/// The first and the last sample.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends(Option<(Sample, Sample)>);

impl Ends {
    fn add(&mut self, sample: Sample) {
        self.0 = Some(self.0.map_or((sample, sample), |(first, last)| {
            (std::cmp::min_by(first, sample, Sample::order), std::cmp::max_by(last, sample, Sample::order))
        }));
    }
}

impl Fold for Ends {
    fn step(&mut self, sample: Sample) {
        self.add(sample);
    }

    fn result(&self) -> Option<f64> {
        self.0.map(|(first, last)| last.value - first.value)
    }

    fn numbers(&mut self, numbers: &mut Numbers) -> Result<()> {
        let (mut first, mut last) = self.0.unzip();
        numbers.sample(&mut first)?;
        numbers.sample(&mut last)?;
        self.0 = first.zip(last);
        Ok(())
    }
}

impl Kernel for DeltaKernel {
    type Group = Ends;

    fn update(&self, groups: &mut [Ends], args: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        let (values, times) = (numbers(&args[0])?, times(&args[1])?);
        for (row, group) in rows.iter() {
            if values.is_valid(row) && times.is_valid(row) {
                groups[group].add(Sample::new(times.value(row), values.value(row)));
            }
        }
        Ok(0)
    }

    fn merge(&self, groups: &mut [Ends], states: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        for ends in states.chunks(2) {
            let (times, values) = (ends[0].as_primitive::<Int64Type>(), ends[1].as_primitive::<Float64Type>());
            for (row, group) in rows.iter().filter(|(row, _)| times.is_valid(*row)) {
                groups[group].add(Sample::new(times.value(row), values.value(row)));
            }
        }
        Ok(0)
    }

    fn states(&self, groups: &mut [Ends]) -> Result<Vec<ArrayRef>> {
        let of = |end: fn(&(Sample, Sample)) -> Sample| {
            let ends = || groups.iter().map(|group| group.0.as_ref().map(end));
            let times: Int64Array = ends().map(|end| end.map(|sample| sample.time_us)).collect();
            let values: Float64Array = ends().map(|end| end.map(|sample| sample.value)).collect();
            [Arc::new(times) as ArrayRef, Arc::new(values) as ArrayRef]
        };
        Ok(of(|ends| ends.0).into_iter().chain(of(|ends| ends.1)).collect())
    }

    fn results(&self, groups: &mut [Ends]) -> Result<ArrayRef> {
        Ok(Arc::new(groups.iter().map(Fold::result).collect::<Float64Array>()))
    }
}
