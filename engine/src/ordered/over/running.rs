//! Aggregates of all rows of a key so far: one state per key, read after every row.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::Field;
use datafusion::common::DFSchema;
use thermocline_sql::{KeyedAggregate, OverCall, OverFunction};

use crate::error::Result;
use crate::keyed::{Accumulators, KeyedFunctions};

/// Running aggregates of one `PARTITION BY`.
#[derive(Debug)]
pub(super) struct Running {
    functions: KeyedFunctions,
    accumulators: Accumulators,
    /// Whether a row sees the others of its time.
    peers: bool,
    /// By the key's number.
    slots: Vec<Option<u32>>,
    /// The calls that the results belong to.
    pub(super) calls: Vec<usize>,
}

/// The last time of a key in a batch, and how many rows, or times, of the key came in it.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    time_us: i64,
    rounds: u32,
}

impl Running {
    /// The running aggregates among these calls: those that see peers, and those that do not.
    pub(super) fn of_calls(calls: &[(usize, &OverCall)], schema: &DFSchema) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for wanted in [false, true] {
            let (mut numbers, mut aggregates) = (Vec::new(), Vec::new());
            for (n, call) in calls {
                if let OverFunction::Running { aggregate, peers } = &call.function
                    && *peers == wanted
                {
                    numbers.push(*n);
                    aggregates.push(aggregate.clone());
                }
            }
            if numbers.is_empty() {
                continue;
            }
            let functions = KeyedFunctions::try_new(&KeyedAggregate { group: Vec::new(), aggregates }, schema)?;
            let accumulators = functions.accumulators()?;
            all.push(Self { functions, accumulators, peers: wanted, slots: Vec::new(), calls: numbers });
        }
        Ok(all)
    }

    /// Adds rows of these keys; the results for each row.
    pub(super) fn update(&mut self, rows: &RecordBatch, keys: &[u32], times_us: &[i64]) -> Result<Vec<ArrayRef>> {
        let evaluated = self.functions.evaluate(rows)?;
        let slots: Vec<u32> = keys.iter().map(|key| self.slot(*key)).collect();
        // In a round each key has one row, or the rows of one time: its state can be read after all were added.
        let rounds = self.rounds(keys, times_us);
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_by_key(|row| rounds[*row as usize]);
        let order = UInt32Array::from(order);
        let arguments =
            evaluated.arguments.iter().map(|arguments| arguments.iter().map(|a| take(a, &order, None)).collect());
        let arguments: Vec<Vec<ArrayRef>> = arguments.collect::<Result<_, _>>()?;
        let mut filters: Vec<Option<BooleanArray>> = Vec::new();
        for filter in &evaluated.filters {
            let taken = filter.as_ref().map(|filter| take(filter, &order, None)).transpose()?;
            filters.push(taken.map(|filter| filter.as_boolean().clone()));
        }
        let mut results: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.calls.len()];
        let mut start = 0;
        for round in order.values().chunk_by(|a, b| rounds[*a as usize] == rounds[*b as usize]) {
            let of_round = |array: &ArrayRef| array.slice(start, round.len());
            let arguments: Vec<Vec<ArrayRef>> =
                arguments.iter().map(|arguments| arguments.iter().map(of_round).collect()).collect();
            let filters: Vec<Option<BooleanArray>> =
                filters.iter().map(|f| f.as_ref().map(|filter| filter.slice(start, round.len()))).collect();
            let slots: Vec<u32> = round.iter().map(|row| slots[*row as usize]).collect();
            self.accumulators.update(&arguments, &filters, &slots)?;
            for (results, result) in results.iter_mut().zip(self.accumulators.evaluate(&slots)?) {
                results.push(result);
            }
            start += round.len();
        }
        let mut places = vec![0_u32; keys.len()];
        for (place, row) in order.values().iter().enumerate() {
            places[*row as usize] = place as u32;
        }
        let places = UInt32Array::from(places);
        let in_order = |results: &Vec<ArrayRef>| {
            let all = concat(&results.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?;
            Ok(take(&all, &places, None)?)
        };
        results.iter().map(in_order).collect()
    }

    fn rounds(&self, keys: &[u32], times_us: &[i64]) -> Vec<u32> {
        let mut of_keys = vec![Round::default(); keys.iter().max().map_or(0, |key| *key as usize + 1)];
        let mut rounds = Vec::with_capacity(keys.len());
        for (key, time_us) in keys.iter().zip(times_us) {
            let round = &mut of_keys[*key as usize];
            if round.rounds == 0 || !self.peers || round.time_us != *time_us {
                *round = Round { time_us: *time_us, rounds: round.rounds + 1 };
            }
            rounds.push(round.rounds);
        }
        rounds
    }

    fn slot(&mut self, key: u32) -> u32 {
        let at = key as usize;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, None);
        }
        *self.slots[at].get_or_insert_with(|| self.accumulators.allocate())
    }

    /// Forgets keys.
    pub(super) fn remove(&mut self, keys: &[u32]) -> Result<()> {
        let slots: Vec<u32> = keys.iter().filter_map(|key| self.slots.get_mut(*key as usize)?.take()).collect();
        self.accumulators.take(&slots)?;
        Ok(())
    }

    /// Columns of the states.
    pub(super) fn state_fields(&self, n: usize) -> Result<Vec<Field>> {
        let fields = self.functions.state_fields()?.into_iter();
        Ok(fields.map(|field| field.clone().with_name(format!("running{n}.{}", field.name()))).collect())
    }

    /// The states of keys.
    pub(super) fn state(&mut self, keys: &[u32]) -> Result<Vec<ArrayRef>> {
        let slots: Vec<u32> = keys.iter().map(|key| self.slot(*key)).collect();
        Ok(self.accumulators.state(&slots)?)
    }

    /// Puts states to keys that had none.
    pub(super) fn restore(&mut self, keys: &[u32], state: &[ArrayRef]) -> Result<()> {
        let slots = self.accumulators.restore(keys.len(), state)?;
        self.slots.resize(keys.iter().max().map_or(0, |key| *key as usize + 1), None);
        for (key, slot) in keys.iter().zip(slots) {
            self.slots[*key as usize] = Some(slot);
        }
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.accumulators.bytes() + self.slots.capacity() * size_of::<Option<u32>>()
    }
}
