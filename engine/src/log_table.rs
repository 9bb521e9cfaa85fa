//! A stream as a finite table: everything it holds at this instant, segments and tail, with no gap and no row twice.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use thermocline_log::{Log, Stream};

/// A stream of the log as a table of an ad-hoc query.
#[derive(Debug)]
pub(crate) struct LogTable {
    log: Log,
    stream: Stream,
}

impl LogTable {
    pub(crate) fn new(log: Log, stream: Stream) -> Self {
        Self { log, stream }
    }
}

#[async_trait]
impl TableProvider for LogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.stream.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Segments skip row groups by their statistics; the filter still runs above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut files = Vec::new();
        let mut tails: Vec<Vec<RecordBatch>> = Vec::new();
        for partition in 0..self.stream.partitions() {
            let snapshot = self.log.snapshot(self.stream.id(), partition).map_err(external)?;
            if snapshot.schema != self.schema() {
                let name = self.stream.name();
                return plan_err!("the columns of stream {name:?} were changed while the query was planned; ask again");
            }
            for segment in snapshot.segments {
                segment.verify().map_err(external)?;
                let path = object_store::path::Path::from_absolute_path(&segment.path)?;
                // A segment may be older than the stream's columns: the scan adapts its own, by name. The segment travels with
                // its file: it stays on disk until the query is done.
                let mut file = PartitionedFile::new(path.to_string(), segment.bytes);
                file.object_meta.location = path;
                file.extensions.insert(segment);
                files.push(file);
            }
            tails.push(snapshot.tail.into_iter().map(|rows| rows.batch).collect());
        }
        let tail = MemorySourceConfig::try_new(&tails, self.schema(), projection.cloned())?;
        let tail: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(tail);
        if files.is_empty() {
            return Ok(tail);
        }
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let source = Arc::new(ParquetSource::new(self.schema()));
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .build();
        UnionExec::try_new(vec![DataSourceExec::from_data_source(scan), tail])
    }
}

fn external(error: thermocline_log::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
