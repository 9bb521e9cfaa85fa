//! `OVER` where each key of the stream has a watermark of its own. The keys of every `PARTITION BY` are parts of one of those,
//! so that what a key remembers ends with its own watermark.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use datafusion::common::DFSchema;
use thermocline_sql::OverShape;

use super::Over;
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::ordered::operator::{OrderedOperator, OrderedRows};
use crate::per_key::{Advance, ByKeyOperator};
use crate::snapshot::{TableShape, TableState};
use crate::watermark::NO_WATERMARK;

/// Window calls over a stream whose rows come in the order of each key's event time.
#[derive(Debug)]
pub(crate) struct OverByKey {
    over: Over,
}

impl OverByKey {
    pub(crate) fn try_new(shape: &OverShape, input: &DFSchema) -> Result<Self> {
        Ok(Self { over: Over::try_new(shape, input)? })
    }
}

impl ByKeyOperator for OverByKey {
    fn update(&mut self, rows: &OrderedRows, keys: &[u32], advances: &[Advance]) -> Result<Vec<RecordBatch>> {
        let over = &mut self.over;
        if !keys.is_empty() {
            over.add(rows, Some(keys))?;
        }
        let mut complete = Vec::new();
        let mut watermarks: HashMap<u32, i64> = HashMap::new();
        // Frames of complete rows do not change: all are computed at once, and nothing is forgotten before.
        for Advance { key, watermark_us, .. } in advances {
            for partition in &mut over.partitions {
                partition.find_due(*key, *watermark_us, &mut over.complete);
            }
            over.take_complete(*key, *watermark_us, &mut complete);
            watermarks.insert(*key, *watermark_us);
        }
        over.emit_complete(complete)?;
        for partition in &mut over.partitions {
            partition.prune(&|key| watermarks.get(&key).copied().unwrap_or(NO_WATERMARK))?;
        }
        over.forget_unneeded()?;
        Ok(std::mem::take(&mut over.ready))
    }

    fn horizons_us(&self) -> Vec<(u32, i64)> {
        self.over.horizons_us().into_iter().collect()
    }

    fn state_shapes(&self) -> &[TableShape] {
        self.over.state_shapes()
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        self.over.state()
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        self.over.tracked()
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        self.over.restore(state)
    }

    fn bytes(&self) -> usize {
        self.over.bytes()
    }
}
