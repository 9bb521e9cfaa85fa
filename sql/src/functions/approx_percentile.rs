//! `approx_percentile(value, fraction [, relative error])`: a percentile within a relative error, merged exactly.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Builder, Int64Builder, ListBuilder};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::aggregate::{Aggregate, Kernel, Rows};
use super::arguments::{canonical, check_count, constant_number, number, numbers, order_key};
use super::sketch::{Buckets, Sketch};

const USAGE: &str = "approx_percentile(value, fraction [, relative error])";
const DEFAULT_ERROR: f64 = 0.01;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxPercentile;

impl Aggregate for ApproxPercentile {
    type Kernel = SketchKernel;
    const NAME: &'static str = "approx_percentile";
    const USAGE: &'static str = USAGE;
    const DESCRIPTION: &'static str = "A percentile within a relative error.";
    const ALIASES: &'static [&'static str] = &["approx_quantile"];

    fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
        check_count(USAGE, types, 2..=3)?;
        let mut coerced = types.to_vec();
        coerced[0] = number(USAGE, &types[0])?;
        Ok(coerced)
    }

    fn state(_types: &[DataType]) -> Vec<Field> {
        vec![
            Field::new_list("buckets", Field::new_list_field(DataType::Int32, true), true),
            Field::new_list("counts", Field::new_list_field(DataType::Int64, true), true),
            Field::new("min", DataType::Float64, true),
            Field::new("max", DataType::Float64, true),
        ]
    }

    fn kernel(args: &AccumulatorArgs<'_>) -> Result<SketchKernel> {
        let q = constant_number(USAGE, &args.exprs[1])?;
        if !(0.0..=1.0).contains(&q) {
            return plan_err!("{USAGE} takes a fraction from 0 to 1, found {q}");
        }
        let error = args.exprs.get(2).map_or(Ok(DEFAULT_ERROR), |expr| constant_number(USAGE, expr))?;
        let buckets = Buckets::within(error).filter(|_| error < 1.0);
        let buckets = buckets.ok_or_else(|| {
            plan_datafusion_err!("{USAGE} takes a relative error from 0.0001 to below 1, found {error}")
        })?;
        Ok(SketchKernel { buckets, q })
    }

    fn sliding(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kernel = Self::kernel(args)?;
        Ok(Box::new(SlidingSketch { kernel, sketch: Sketch::default(), numbers: BTreeMap::new() }))
    }
}

#[derive(Debug)]
pub(super) struct SketchKernel {
    buckets: Buckets,
    q: f64,
}

const BUCKET_BYTES: usize = size_of::<(i32, u64)>();

impl Kernel for SketchKernel {
    type Group = Sketch;

    fn update(&self, groups: &mut [Sketch], args: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        let values = numbers(&args[0])?;
        let mut grown = 0;
        for (row, group) in rows.iter().filter(|(row, _)| values.is_valid(*row)) {
            let sketch = &mut groups[group];
            let capacity = sketch.counts.capacity();
            sketch.add(self.buckets, values.value(row));
            grown += sketch.counts.capacity() - capacity;
        }
        Ok(grown * BUCKET_BYTES)
    }

    fn merge(&self, groups: &mut [Sketch], states: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        let (all_buckets, all_counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        let (min, max) = (states[2].as_primitive::<Float64Type>(), states[3].as_primitive::<Float64Type>());
        let mut grown = 0;
        for (row, group) in rows.iter().filter(|(row, _)| all_buckets.is_valid(*row)) {
            let sketch = &mut groups[group];
            let capacity = sketch.counts.capacity();
            let (buckets, counts) = (all_buckets.value(row), all_counts.value(row));
            let (buckets, counts) = (buckets.as_primitive::<Int32Type>(), counts.as_primitive::<Int64Type>());
            for (bucket, count) in buckets.values().iter().zip(counts.values()) {
                sketch.add_count(*bucket, count.cast_unsigned());
            }
            sketch.extend(min.value(row), max.value(row));
            grown += sketch.counts.capacity() - capacity;
        }
        Ok(grown * BUCKET_BYTES)
    }

    fn states(&self, groups: &mut [Sketch]) -> Result<Vec<ArrayRef>> {
        let mut buckets = ListBuilder::new(Int32Builder::new());
        let mut counts = ListBuilder::new(Int64Builder::new());
        for sketch in groups.iter() {
            for (bucket, count) in &sketch.counts {
                buckets.values().append_value(*bucket);
                counts.values().append_value(count.cast_signed());
            }
            buckets.append(true);
            counts.append(true);
        }
        let min = Float64Array::from_iter_values(groups.iter().map(|sketch| sketch.min));
        let max = Float64Array::from_iter_values(groups.iter().map(|sketch| sketch.max));
        Ok(vec![Arc::new(buckets.finish()), Arc::new(counts.finish()), Arc::new(min), Arc::new(max)])
    }

    fn results(&self, groups: &mut [Sketch]) -> Result<ArrayRef> {
        Ok(Arc::new(Sketch::quantiles(groups, self.buckets, self.q)))
    }

    fn heap_bytes(sketch: &Sketch) -> usize {
        sketch.counts.capacity() * BUCKET_BYTES
    }
}

/// A sketch of a frame whose start moves. Its range is known from the numbers themselves, with how often each is there.
#[derive(Debug)]
struct SlidingSketch {
    kernel: SketchKernel,
    sketch: Sketch,
    numbers: BTreeMap<i64, (f64, u64)>,
}

impl Accumulator for SlidingSketch {
    fn update_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        for value in numbers(&args[0])?.iter().flatten().map(canonical) {
            self.sketch.add_count(self.kernel.buckets.bucket(value), 1);
            self.numbers.entry(order_key(value)).or_insert((value, 0)).1 += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        for value in numbers(&args[0])?.iter().flatten().map(canonical) {
            self.sketch.take_one(self.kernel.buckets.bucket(value));
            let key = order_key(value);
            if let Some((_, count)) = self.numbers.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.numbers.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let known = || self.numbers.values().map(|(value, _)| *value).filter(|value| !value.is_nan());
        (self.sketch.min, self.sketch.max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (min, max) = (known().next(), known().next_back());
        min.into_iter().chain(max).for_each(|value| self.sketch.extend(value, value));
        Ok(ScalarValue::Float64(self.sketch.quantile(self.kernel.buckets, self.kernel.q)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the rows of a frame are never merged")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("the rows of a frame are never merged")
    }

    fn size(&self) -> usize {
        size_of::<Self>() + SketchKernel::heap_bytes(&self.sketch) + self.numbers.len() * size_of::<(i64, f64, u64)>()
    }
}
