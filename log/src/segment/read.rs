//! Reads a segment from an offset on, with the columns asked for.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Result};
use crate::segment::Segment;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Iterates over the batches of one segment.
pub(crate) struct SegmentReader {
    segment: Arc<Segment>,
    batches: ParquetRecordBatchReader,
    /// Columns of a decoded batch that make the projection, in its order.
    columns: Option<Vec<usize>>,
}

impl SegmentReader {
    /// Opens the segment at `offset`, which lies in it. `projection` are indices into `schema`.
    pub(crate) fn open(
        segment: &Arc<Segment>,
        schema: &SchemaRef,
        offset: u64,
        projection: Option<&[usize]>,
    ) -> Result<Self> {
        let failed = |source| Error::Parquet { path: segment.path.clone(), source };
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(schema));
        let builder =
            ParquetRecordBatchReaderBuilder::try_new_with_options(segment.load()?, options).map_err(failed)?;
        let mut skip = usize::try_from(offset - segment.name.start).expect("a segment's rows fit the address space");
        let mut row_groups = Vec::new();
        for (index, group) in builder.metadata().row_groups().iter().enumerate() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            if row_groups.is_empty() && skip >= rows {
                skip -= rows;
            } else {
                row_groups.push(index);
            }
        }
        let (mask, columns) = match projection {
            None => (ProjectionMask::all(), None),
            Some(projection) => {
                let mut sorted = projection.to_vec();
                sorted.sort_unstable();
                sorted.dedup();
                let columns = projection.iter().filter_map(|column| sorted.binary_search(column).ok()).collect();
                (ProjectionMask::roots(builder.parquet_schema(), sorted), Some(columns))
            }
        };
        let batches = builder
            .with_row_groups(row_groups)
            .with_offset(skip)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(failed)?;
        Ok(Self { segment: Arc::clone(segment), batches, columns })
    }

    /// The next rows; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let failed = |source| Error::Parquet {
            path: self.segment.path.clone(),
            source: parquet::errors::ParquetError::External(Box::new(source)),
        };
        let batch = batch.map_err(failed)?;
        match &self.columns {
            None => Ok(Some(batch)),
            Some(columns) => Ok(Some(batch.project(columns)?)),
        }
    }
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentReader").field("segment", &self.segment.path).finish_non_exhaustive()
    }
}
