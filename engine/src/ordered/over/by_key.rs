//! `OVER` where each key of the stream has a watermark of its own. The keys of every `PARTITION BY` are parts of one of those,
//! so that what a key remembers ends with its own watermark.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use thermocline_sql::OverShape;

use super::Over;
use super::keys::Keys;
use crate::error::Result;
use crate::ordered::operator::{OrderedOperator, OrderedRows};
use crate::per_key::{Advance, ByKeyOperator};
use crate::watermark::NO_WATERMARK;

/// Window calls over a stream whose rows come in the order of each key's event time.
#[derive(Debug)]
pub(crate) struct OverByKey {
    over: Over,
    state_schemas: Vec<SchemaRef>,
}

impl OverByKey {
    pub(crate) fn try_new(shape: &OverShape, input: &datafusion::common::DFSchema) -> Result<Self> {
        let over = Over::try_new(shape, input)?;
        let mut state_schemas = over.state_schemas().to_vec();
        state_schemas.extend(over.partitions.iter().map(|_| owners_schema()));
        Ok(Self { over, state_schemas })
    }
}

fn owners_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("owner", DataType::Int64, false)]))
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

    fn state_schemas(&self) -> &[SchemaRef] {
        &self.state_schemas
    }

    fn state(&mut self) -> Result<Vec<RecordBatch>> {
        let mut tables = self.over.tables()?;
        let owners = |keys: &Keys| {
            let owners = Int64Array::from_iter_values(keys.owners().map(i64::from));
            RecordBatch::try_new(owners_schema(), vec![Arc::new(owners)])
        };
        for partition in &self.over.partitions {
            tables.push(owners(partition)?);
        }
        Ok(tables)
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (tables, owners) = state.split_at(state.len() - self.over.partitions.len());
        self.over.restore_tables(tables, |n| Some(owners[n].column(0).as_primitive::<Int64Type>().values()))
    }

    fn bytes(&self) -> usize {
        self.over.bytes()
    }
}
