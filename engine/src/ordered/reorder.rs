//! Rows that wait for the watermark, sorted; and the merge of those that it has passed.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::operator::OrderedRows;
use crate::error::Result;

/// Runs of a partition above which small ones are joined.
const MANY_RUNS: usize = 64;

/// Rows of runs that are joined, at most.
const JOINED_ROWS: usize = 8_192;

/// Rows of one partition sorted by event time; rows of one time stand in offset order.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    times_us: Vec<i64>,
    rows: RecordBatch,
    /// Rows before this one were given away.
    start: usize,
}

impl Run {
    /// Sorts rows that are in offset order; `None` when there are none.
    pub(crate) fn sorted(times_us: Vec<i64>, rows: RecordBatch) -> Result<Option<Self>> {
        debug_assert_eq!(times_us.len(), rows.num_rows());
        if times_us.is_empty() {
            return Ok(None);
        }
        if times_us.is_sorted() {
            return Ok(Some(Self { times_us, rows, start: 0 }));
        }
        let mut order: Vec<u32> = (0..times_us.len() as u32).collect();
        order.sort_by_key(|row| times_us[*row as usize]);
        let sorted = order.iter().map(|row| times_us[*row as usize]).collect();
        let rows = take_record_batch(&rows, &UInt32Array::from(order))?;
        Ok(Some(Self { times_us: sorted, rows, start: 0 }))
    }

    /// The rows that still wait, with their times.
    pub(crate) fn waiting(&self) -> (&[i64], RecordBatch) {
        (&self.times_us[self.start..], self.rows.slice(self.start, self.len()))
    }

    /// Number of rows that still wait.
    pub(crate) fn len(&self) -> usize {
        self.times_us.len() - self.start
    }

    /// Time of the last row.
    pub(crate) fn last_us(&self) -> i64 {
        *self.times_us.last().expect("a run has rows")
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.times_us.capacity() * size_of::<i64>()
    }

    /// The rows that still wait in memory of their own.
    fn shrunk(self) -> Result<Self> {
        if self.start == 0 {
            return Ok(self);
        }
        let left = UInt32Array::from_iter_values(self.start as u32..self.times_us.len() as u32);
        let rows = take_record_batch(&self.rows, &left)?;
        Ok(Self { times_us: self.times_us[self.start..].to_vec(), rows, start: 0 })
    }

    /// The rows of two runs that wait; those of `other` come after these in offset order.
    fn joined(&self, other: &Self) -> Result<Self> {
        let ((times, rows), (other_times, other_rows)) = (self.waiting(), other.waiting());
        let rows = concat_batches(&self.rows.schema(), [&rows, &other_rows])?;
        let joined = Self::sorted([times, other_times].concat(), rows)?;
        Ok(joined.expect("runs that wait have rows"))
    }

    /// Times of the rows that wait and stand before the watermark.
    fn times_before(&self, watermark_us: i64) -> &[i64] {
        let times_us = &self.times_us[self.start..];
        &times_us[..times_us.partition_point(|time_us| *time_us < watermark_us)]
    }

    /// Gives away the rows before the watermark.
    fn take_before(&mut self, watermark_us: i64) -> std::ops::Range<usize> {
        let start = self.start;
        self.start += self.times_us[start..].partition_point(|time_us| *time_us < watermark_us);
        start..self.start
    }
}

/// Forgets runs that were given away, and rows that were where they are the most of a run; joins small runs when there are
/// many. So rows from the far future cost no more than themselves, in however many batches they came.
pub(crate) fn tidy_runs(runs: &mut Vec<Run>) -> Result<()> {
    runs.retain(|run| run.len() > 0);
    let is_spent = |run: &Run| run.start > run.len();
    if runs.len() <= MANY_RUNS && !runs.iter().any(is_spent) {
        return Ok(());
    }
    let join = runs.len() > MANY_RUNS;
    let mut tidy: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs.drain(..) {
        match tidy.last_mut() {
            Some(last) if join && last.len() + run.len() <= JOINED_ROWS => *last = last.joined(&run)?,
            _ if is_spent(&run) => tidy.push(run.shrunk()?),
            _ => tidy.push(run),
        }
    }
    *runs = tidy;
    Ok(())
}

/// A watermark up to `watermark_us` before which about `rows` rows stand: exactly so many, and those of the last one's time.
pub(crate) fn part_before(runs: &[&Run], watermark_us: i64, rows: usize) -> i64 {
    if runs.iter().map(|run| run.times_before(watermark_us).len()).sum::<usize>() <= rows {
        return watermark_us;
    }
    let mut times_us: Vec<i64> = runs.iter().flat_map(|run| run.times_before(watermark_us)).copied().collect();
    let (_, last_us, _) = times_us.select_nth_unstable(rows.saturating_sub(1));
    (*last_us + 1).min(watermark_us)
}

/// Takes the rows before the watermark out of `runs[input]`, which stand in the order of (partition, offset), and merges
/// them by (time, input, partition, offset). `None` when there are none.
pub(crate) fn merge_runs(
    runs: &mut [Vec<&mut Run>],
    schemas: &[SchemaRef],
    watermark_us: i64,
) -> Result<Option<OrderedRows>> {
    // One part per run; the merged order as (time, part, row).
    let mut parts: Vec<(u8, &RecordBatch)> = Vec::new();
    let mut order: Vec<(i64, u32, u32)> = Vec::new();
    for (input, runs) in runs.iter_mut().enumerate() {
        for run in runs {
            let taken = run.take_before(watermark_us);
            if taken.is_empty() {
                continue;
            }
            let part = parts.len() as u32;
            order.extend(taken.map(|row| (run.times_us[row], part, row as u32)));
            parts.push((input as u8, &run.rows));
        }
    }
    if order.is_empty() {
        return Ok(None);
    }
    // Parts are in order already: sorting by the whole triple merges them, and ties keep the order of parts.
    order.sort();
    let mut batches = Vec::with_capacity(schemas.len());
    for (input, schema) in schemas.iter().enumerate() {
        let own: Vec<u32> = (0..parts.len() as u32).filter(|part| parts[*part as usize].0 as usize == input).collect();
        batches.push(match own.as_slice() {
            [] => RecordBatch::new_empty(schema.clone()),
            own => {
                let first = own[0];
                let of_input = order.iter().filter(|(_, part, _)| parts[*part as usize].0 as usize == input);
                let indices: Vec<_> = of_input.map(|(_, part, row)| ((part - first) as usize, *row as usize)).collect();
                let sources: Vec<&RecordBatch> = own.iter().map(|part| parts[*part as usize].1).collect();
                interleave_record_batch(&sources, &indices)?
            }
        });
    }
    Ok(Some(OrderedRows {
        times_us: order.iter().map(|(time_us, _, _)| *time_us).collect(),
        inputs: order.iter().map(|(_, part, _)| parts[*part as usize].0).collect(),
        batches,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
    }

    fn run(rows: &[(i64, i64)]) -> Run {
        let (times, values): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(values))]).unwrap();
        Run::sorted(times, rows).unwrap().unwrap()
    }

    fn merged(runs: &mut [Vec<Run>], watermark_us: i64) -> Vec<(i64, u8, i64)> {
        let schemas = vec![schema(); runs.len()];
        let mut borrowed: Vec<Vec<&mut Run>> = runs.iter_mut().map(|runs| runs.iter_mut().collect()).collect();
        let Some(rows) = merge_runs(&mut borrowed, &schemas, watermark_us).unwrap() else { return vec![] };
        let mut next = vec![0; rows.batches.len()];
        let triples = rows.times_us.iter().zip(&rows.inputs).map(|(time_us, input)| {
            let values = rows.batches[*input as usize].column(0).as_primitive::<Int64Type>();
            let row = next[*input as usize];
            next[*input as usize] += 1;
            (*time_us, *input, values.value(row))
        });
        let triples = triples.collect();
        assert!(rows.batches.iter().zip(next).all(|(batch, n)| batch.column(0).len() == n));
        triples
    }

    #[test]
    fn rows_come_by_time_then_input_then_partition_then_offset() {
        let mut runs = vec![vec![run(&[(5, 1), (3, 2), (5, 3)]), run(&[(3, 4), (9, 5)])], vec![run(&[(3, 6), (4, 7)])]];
        assert_eq!(merged(&mut runs, 5), [(3, 0, 2), (3, 0, 4), (3, 1, 6), (4, 1, 7)]);
        assert_eq!(merged(&mut runs, 5), []);
        assert_eq!(merged(&mut runs, 100), [(5, 0, 1), (5, 0, 3), (9, 0, 5)]);
    }

    #[test]
    fn a_part_of_the_rows_ends_with_a_time() {
        let runs = [run(&[(1, 0), (3, 0), (3, 1), (8, 0)]), run(&[(2, 0), (3, 2), (9, 0)])];
        let part = |rows, watermark_us| part_before(&[&runs[0], &runs[1]], watermark_us, rows);
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|rows| part(rows, 9)), [2, 3, 4, 4, 4, 9, 9]);
        assert_eq!((part(1, 2), part(1, 1), part(7, 100)), (2, 1, 100));
    }

    #[test]
    fn rows_from_the_far_future_hold_nothing_but_themselves() {
        let far = |n: i64| 1_000_000 - n % 3;
        let rows: Vec<Vec<(i64, i64)>> =
            (0..300).map(|n| (0..100).map(|i| (n + i, 0)).chain([(far(n), n)]).collect()).collect();
        let mut runs = Vec::new();
        let mut expected: Vec<(i64, u8, i64)> = (0..300).map(|n| (far(n), 0, n)).collect();
        expected.sort_by_key(|(time_us, _, _)| *time_us);
        for (n, rows) in (0..).zip(&rows) {
            runs.push(run(rows));
            merge_runs(&mut [runs.iter_mut().collect()], &[schema()], n + 100).unwrap();
            tidy_runs(&mut runs).unwrap();
            assert!(runs.len() <= MANY_RUNS, "{}", runs.len());
        }
        let bytes: usize = runs.iter().map(Run::bytes).sum();
        assert!(bytes < 20_000, "{bytes} bytes of 300 rows");
        assert_eq!(merged(&mut [runs], i64::MAX), expected);
    }
}
