//! Reference tables: finite files that queries join with, read again every `refresh`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions};
use parking_lot::{Mutex, RwLock};
use thermocline_sql::{TableDef, TableFormat};

use crate::clock::{Clock, MonotonicClock};
use crate::error::{Error, Result};

/// The reference tables of a pipeline.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: HashMap<String, Arc<ReferenceTable>>,
    version: AtomicU64,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct ReferenceTable {
    definition: TableDef,
    rows: RwLock<Arc<MemTable>>,
    read_at: Mutex<Duration>,
}

impl Tables {
    /// Reads every table once.
    pub(crate) async fn load(definitions: impl IntoIterator<Item = &TableDef>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut tables = HashMap::new();
        for definition in definitions {
            let rows = RwLock::new(Arc::new(read(definition).await?));
            let table = ReferenceTable { definition: definition.clone(), rows, read_at: Mutex::new(clock.elapsed()) };
            tables.insert(definition.name.clone(), Arc::new(table));
        }
        Ok(Self { tables, version: AtomicU64::new(0), clock })
    }

    /// The tables with their columns only, for compiling without reading.
    pub(crate) fn without_rows<'a>(definitions: impl IntoIterator<Item = &'a TableDef>) -> Self {
        let tables = definitions.into_iter().map(|definition| {
            let empty = MemTable::try_new(Arc::clone(&definition.schema), vec![vec![]]);
            let rows = RwLock::new(Arc::new(empty.expect("no rows fit any schema")));
            let table = ReferenceTable { definition: definition.clone(), rows, read_at: Mutex::new(Duration::ZERO) };
            (definition.name.clone(), Arc::new(table))
        });
        Self { tables: tables.collect(), version: AtomicU64::new(0), clock: Arc::new(MonotonicClock::default()) }
    }

    /// Changes whenever a table has other rows than before.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How often the table is read again that is read most often.
    pub(crate) fn shortest_refresh(&self) -> Option<Duration> {
        self.tables.values().filter_map(|table| table.definition.refresh).min()
    }

    /// Reads the tables again whose `refresh` has passed. A table that cannot be read keeps its rows.
    pub(crate) async fn refresh(&self) {
        for table in self.tables.values() {
            let Some(refresh) = table.definition.refresh else { continue };
            let now = self.clock.elapsed();
            if now < *table.read_at.lock() + refresh {
                continue;
            }
            *table.read_at.lock() = now;
            match read(&table.definition).await {
                Ok(rows) => {
                    *table.rows.write() = Arc::new(rows);
                    self.version.fetch_add(1, Ordering::AcqRel);
                }
                Err(error) => {
                    metrics::counter!("thermocline_table_refresh_failures_total", "table" => table.definition.name.clone())
                        .increment(1);
                    tracing::warn!(table = table.definition.name, %error, "table not refreshed, its last rows stay");
                }
            }
        }
    }

    /// Names of the tables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// The table as a provider of its current rows.
    pub(crate) fn provider(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.tables.get(name).map(|table| Arc::clone(table) as Arc<dyn TableProvider>)
    }

    /// The plan with its scans of reference tables bound to their rows.
    pub(crate) fn bind(&self, plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(scan) => match self.provider(scan.table_name.table()) {
                Some(provider) => {
                    let scan = TableScanBuilder::new(scan.table_name, provider_as_source(provider))
                        .with_projection(scan.projection)
                        .build()?;
                    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                }
                None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
            },
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

#[async_trait]
impl TableProvider for ReferenceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.definition.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let rows = Arc::clone(&self.rows.read());
        rows.scan(state, projection, filters, limit).await
    }
}

/// Reads a table's file with the columns it was declared with.
async fn read(definition: &TableDef) -> Result<MemTable> {
    let failed = |source: DataFusionError| Error::Table {
        table: definition.name.clone(),
        path: definition.location.clone(),
        source,
    };
    if !definition.location.exists() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        return Err(failed(DataFusionError::IoError(missing)));
    }
    let batches = read_file(definition).await.map_err(failed)?;
    check_primary_key(definition, &batches).map_err(failed)?;
    MemTable::try_new(Arc::clone(&definition.schema), vec![batches]).map_err(failed)
}

async fn read_file(definition: &TableDef) -> DataFusionResult<Vec<RecordBatch>> {
    let context = crate::session::stage_context();
    let path = definition.location.to_string_lossy();
    let extension = definition.location.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let rows = match definition.format {
        TableFormat::Csv => {
            let options = CsvReadOptions::new().schema(&definition.schema).file_extension(&extension);
            context.read_csv(path.as_ref(), options).await?
        }
        TableFormat::Json => {
            let options = JsonReadOptions::default().schema(&definition.schema).file_extension(&extension);
            context.read_json(path.as_ref(), options).await?
        }
        TableFormat::Parquet => {
            let options = ParquetReadOptions::default().schema(&definition.schema).file_extension(&extension);
            context.read_parquet(path.as_ref(), options).await?
        }
    };
    let batches = rows.collect().await?;
    batches
        .into_iter()
        .map(|batch| Ok(RecordBatch::try_new(Arc::clone(&definition.schema), batch.columns().to_vec())?))
        .collect()
}

/// A key that stands twice would join every reading twice.
fn check_primary_key(definition: &TableDef, batches: &[RecordBatch]) -> DataFusionResult<()> {
    if definition.primary_key.is_empty() {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::new();
    for batch in batches {
        let columns: Vec<_> = definition.primary_key.iter().filter_map(|name| batch.column_by_name(name)).collect();
        for row in 0..batch.num_rows() {
            let key: Vec<String> = columns
                .iter()
                .map(|column| arrow::util::display::array_value_to_string(column, row))
                .collect::<Result<_, _>>()?;
            if !seen.insert(key.clone()) {
                return Err(DataFusionError::Execution(format!(
                    "primary key ({}) expected once, found again: {}",
                    definition.primary_key.join(", "),
                    key.join(", ")
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
