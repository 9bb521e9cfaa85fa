//! `first(value, time)` and `last(value, time)`: the value where the second argument is least or greatest. Of several
//! there, `first` takes the least value and `last` the greatest, so that the order rows came in does not matter.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, new_empty_array};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::aggregate::{Aggregate, Kernel, Rows};
use super::arguments::{canonical, check_count, order_keys};
use crate::types::sql_name;

/// The value where the second argument is least.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct First;

/// The value where the second argument is greatest.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Last;

/// Which of two comes out.
pub(super) trait End: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    const NAME: &'static str;
    const USAGE: &'static str;
    const DESCRIPTION: &'static str;
    const ALIASES: &'static [&'static str];
    /// How what comes out compares to all others.
    const WINS: Ordering;
}

impl End for First {
    const NAME: &'static str = "first";
    const USAGE: &'static str = "first(value, time)";
    const DESCRIPTION: &'static str = "The value at the first time.";
    const ALIASES: &'static [&'static str] = &["arg_min", "min_by"];
    const WINS: Ordering = Ordering::Less;
}

impl End for Last {
    const NAME: &'static str = "last";
    const USAGE: &'static str = "last(value, time)";
    const DESCRIPTION: &'static str = "The value at the last time.";
    const ALIASES: &'static [&'static str] = &["arg_max", "max_by"];
    const WINS: Ordering = Ordering::Greater;
}

macro_rules! aggregate {
    ($end:ident) => {
        impl Aggregate for $end {
            type Kernel = EndKernel<$end>;
            const NAME: &'static str = <$end as End>::NAME;
            const USAGE: &'static str = <$end as End>::USAGE;
            const DESCRIPTION: &'static str = <$end as End>::DESCRIPTION;
            const ALIASES: &'static [&'static str] = <$end as End>::ALIASES;

            fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
                coerced::<$end>(types)
            }

            fn result_type(types: &[DataType]) -> DataType {
                types[0].clone()
            }

            fn state(types: &[DataType]) -> Vec<Field> {
                vec![Field::new("by", DataType::Int64, true), Field::new("value", types[0].clone(), true)]
            }

            fn kernel(args: &AccumulatorArgs<'_>) -> Result<Self::Kernel> {
                Ok(EndKernel { data_type: args.return_type().clone(), end: PhantomData })
            }

            fn sliding(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
                let data_type = args.return_type().clone();
                Ok(Box::new(SlidingEnd::<$end> { data_type, end: PhantomData, values: BTreeMap::new() }))
            }
        }
    };
}

aggregate!(First);
aggregate!(Last);

fn coerced<E: End>(types: &[DataType]) -> Result<Vec<DataType>> {
    let usage = E::USAGE;
    check_count(usage, types, 2..=2)?;
    if types[0].is_nested() {
        return plan_err!("{usage} takes a plain value, found {}", sql_name(&types[0]));
    }
    let by = match &types[1] {
        time @ (DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) => time.clone(),
        float if float.is_floating() => DataType::Float64,
        integer if integer.is_integer() && *integer != DataType::UInt64 => DataType::Int64,
        DataType::Null => DataType::Int64,
        other => return plan_err!("{usage} takes a TIMESTAMP or a number second, found {}", sql_name(other)),
    };
    Ok(vec![types[0].clone(), by])
}

/// A plain value whose NaN is but one.
fn value_at(values: &ArrayRef, row: usize) -> Result<ScalarValue> {
    Ok(match ScalarValue::try_from_array(values, row)? {
        ScalarValue::Float64(Some(value)) => ScalarValue::Float64(Some(canonical(value))),
        value => value,
    })
}

fn order(a: &ScalarValue, b: &ScalarValue) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

#[derive(Debug)]
pub(super) struct EndKernel<E> {
    data_type: DataType,
    end: PhantomData<E>,
}

/// Where the second argument is least or greatest so far, and the value there.
#[derive(Debug, Default)]
pub(super) struct Best {
    by: i64,
    value: Option<ScalarValue>,
    /// The row of the batch at hand that has the value, until it is read.
    row: Option<usize>,
}

impl<E: End> EndKernel<E> {
    fn add(&self, groups: &mut [Best], by: &Int64Array, values: &ArrayRef, rows: &Rows<'_>) -> Result<usize> {
        let mut won = Vec::new();
        for (row, group) in rows.iter() {
            if by.is_null(row) || values.is_null(row) {
                continue;
            }
            let best = &mut groups[group];
            let wins = match (best.row, &best.value) {
                (None, None) => true,
                _ => match by.value(row).cmp(&best.by) {
                    Ordering::Equal => {
                        let known = match (best.row, &best.value) {
                            (None, Some(value)) => value.clone(),
                            (row, _) => value_at(values, row.unwrap_or_default())?,
                        };
                        order(&value_at(values, row)?, &known) == E::WINS
                    }
                    order => order == E::WINS,
                },
            };
            if wins {
                if best.row.is_none() {
                    won.push(group);
                }
                best.by = by.value(row);
                best.row = Some(row);
            }
        }
        let mut grown_bytes = 0;
        for group in won {
            let best = &mut groups[group];
            if let Some(row) = best.row.take() {
                let before_bytes = Self::heap_bytes(best);
                best.value = Some(value_at(values, row)?);
                grown_bytes += Self::heap_bytes(best).saturating_sub(before_bytes);
            }
        }
        Ok(grown_bytes)
    }
}

impl<E: End> Kernel for EndKernel<E> {
    type Group = Best;

    fn update(&self, groups: &mut [Best], args: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        self.add(groups, &order_keys(&args[1])?, &args[0], rows)
    }

    fn merge(&self, groups: &mut [Best], states: &[ArrayRef], rows: &Rows<'_>) -> Result<usize> {
        self.add(groups, states[0].as_primitive::<Int64Type>(), &states[1], rows)
    }

    fn states(&self, groups: &mut [Best]) -> Result<Vec<ArrayRef>> {
        let by: Int64Array = groups.iter().map(|best| best.value.as_ref().map(|_| best.by)).collect();
        Ok(vec![Arc::new(by), self.results(groups)?])
    }

    fn results(&self, groups: &mut [Best]) -> Result<ArrayRef> {
        if groups.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let null = ScalarValue::try_from(&self.data_type)?;
        ScalarValue::iter_to_array(groups.iter().map(|best| best.value.clone().unwrap_or_else(|| null.clone())))
    }

    fn heap_bytes(best: &Best) -> usize {
        best.value.as_ref().map_or(0, |value| value.size() - size_of::<ScalarValue>())
    }
}

/// All values of a frame, by the second argument.
#[derive(Debug)]
struct SlidingEnd<E> {
    data_type: DataType,
    end: PhantomData<E>,
    values: BTreeMap<i64, Vec<ScalarValue>>,
}

impl<E> SlidingEnd<E> {
    /// The second argument and the value of the rows where neither is NULL.
    fn entries(args: &[ArrayRef]) -> Result<Vec<(i64, ScalarValue)>> {
        let by = order_keys(&args[1])?;
        let rows = (0..by.len()).filter(|row| by.is_valid(*row) && args[0].is_valid(*row));
        rows.map(|row| Ok((by.value(row), value_at(&args[0], row)?))).collect()
    }
}

impl<E: End> Accumulator for SlidingEnd<E> {
    fn update_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        for (by, value) in Self::entries(args)? {
            self.values.entry(by).or_default().push(value);
        }
        Ok(())
    }

    fn retract_batch(&mut self, args: &[ArrayRef]) -> Result<()> {
        for (by, value) in Self::entries(args)? {
            let Some(values) = self.values.get_mut(&by) else { continue };
            if let Some(at) = values.iter().position(|other| order(other, &value) == Ordering::Equal) {
                values.swap_remove(at);
            }
            if values.is_empty() {
                self.values.remove(&by);
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (values, best) = match E::WINS {
            Ordering::Less => (self.values.values().next(), values_min as Pick),
            _ => (self.values.values().next_back(), values_max as Pick),
        };
        match values.and_then(|values| best(values)) {
            Some(value) => Ok(value.clone()),
            None => ScalarValue::try_from(&self.data_type),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the rows of a frame are never merged")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("the rows of a frame are never merged")
    }

    fn size(&self) -> usize {
        let values = self.values.values().flatten().map(ScalarValue::size);
        size_of::<Self>() + self.values.len() * size_of::<(i64, Vec<ScalarValue>)>() + values.sum::<usize>()
    }
}

type Pick = fn(&[ScalarValue]) -> Option<&ScalarValue>;

fn values_min(values: &[ScalarValue]) -> Option<&ScalarValue> {
    values.iter().min_by(|a, b| order(a, b))
}

fn values_max(values: &[ScalarValue]) -> Option<&ScalarValue> {
    values.iter().max_by(|a, b| order(a, b))
}
