//! The sink: rows become ordered Parquet files, and one commit adds them together with the new positions.
//!
//! Before every commit the positions in the table are read again; what is already in is left out. A commit by another
//! writer of the same sink in between makes the commit fail, never apply twice.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::Utc;
use deltalake::kernel::transaction::{
    CommitBuilder, CommitConflictError, CommitProperties, TableReference, TransactionError,
};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};

use super::stats::file_stats;
use super::table::{TableShape, commit_file};
use crate::columnar::{Location, PartitionBy, encode, normal_schema, normalise, split};
use crate::connector::OpenContext;
use crate::error::{Error, Result};
use crate::sink::{Delivery, FeedId, Limits, Outcome, Sink};

/// Appends rows to a Delta table.
pub(super) struct DeltaSink {
    name: String,
    location: Location,
    schema: SchemaRef,
    shape: TableShape,
    partition_by: PartitionBy,
    timestamp: Option<String>,
    limits: Limits,
    table: Option<DeltaTable>,
    staged: Option<Staged>,
}

/// Files that were written for a commit which did not succeed yet; the next attempt adds the same.
struct Staged {
    ranges: Vec<(FeedId, u64, u64)>,
    adds: Vec<Add>,
}

/// A data file before it is written.
struct NewFile {
    name: String,
    partition: HashMap<String, Option<String>>,
    bytes: Vec<u8>,
    stats: String,
}

impl DeltaSink {
    pub(super) fn open(context: OpenContext) -> Result<Self> {
        let OpenContext { name, base_dir, options, schema, .. } = context;
        let (normal, mistakes) = normal_schema(&schema);
        if let Some(mismatch) = mistakes.into_iter().next() {
            return Err(mismatch.into());
        }
        let partition_by = PartitionBy::of(&options, &schema)?;
        Ok(Self {
            name,
            location: Location::parse(options.text("location").unwrap_or_default(), &base_dir)?,
            shape: TableShape::of(&normal, &partition_by)?,
            schema: normal,
            partition_by,
            timestamp: options.text("timestamp").map(str::to_owned),
            limits: Limits {
                max_rows: usize::try_from(options.count("max_rows")).unwrap_or(usize::MAX),
                linger: options.duration("commit_interval"),
            },
            table: None,
            staged: None,
        })
    }

    fn app_id(&self, feed: &FeedId) -> String {
        format!("thermocline/{}/{}/{}", self.name, feed.name, feed.partition)
    }

    /// The next offset that the table needs of a feed.
    async fn next_offset(&self, table: &DeltaTable, feed: &FeedId) -> Result<Option<u64>> {
        let snapshot = table.snapshot().map_err(|error| self.failed(error))?;
        let log_store = table.log_store();
        let version = snapshot.transaction_version(log_store.as_ref(), self.app_id(feed)).await;
        let version = version.map_err(|error| self.failed(error))?;
        Ok(version.and_then(|last| u64::try_from(last + 1).ok()))
    }

    /// Deliveries that are not in the table yet.
    async fn fresh<'a>(&self, table: &DeltaTable, deliveries: &'a [Delivery]) -> Result<Vec<&'a Delivery>> {
        let mut fresh = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match self.next_offset(table, &delivery.feed).await? {
                Some(next) if next >= delivery.end_offset => {}
                Some(next) if next > delivery.start_offset => {
                    let FeedId { name, partition } = &delivery.feed;
                    return Err(self.conflict(format!(
                        "expected {name}/{partition} at offset {}, found {next}",
                        delivery.start_offset
                    )));
                }
                _ => fresh.push(delivery),
            }
        }
        Ok(fresh)
    }

    async fn append(&mut self, table: &DeltaTable, deliveries: &[&Delivery]) -> Result<()> {
        let adds = self.stage(deliveries).await?;
        let positions = deliveries
            .iter()
            .map(|delivery| {
                let last = i64::try_from(delivery.end_offset - 1).unwrap_or(i64::MAX);
                Transaction::new_with_last_update(
                    self.app_id(&delivery.feed),
                    last,
                    Some(Utc::now().timestamp_millis()),
                )
            })
            .collect();
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: self.partition_by.name(&self.schema).map(|name| vec![name.to_owned()]),
            predicate: None,
        };
        let snapshot = table.snapshot().map_err(|error| self.failed(error))?;
        let commit = CommitBuilder::from(CommitProperties::default().with_application_transactions(positions))
            .with_actions(adds.into_iter().map(Action::Add).collect())
            .build(Some(snapshot as &dyn TableReference), table.log_store(), operation)
            .await
            .map_err(|error| self.failed(error))?;
        let version = commit.version();
        self.location.sync(&commit_file(version)).await?;
        if commit.metrics.new_checkpoint_created {
            self.location.sync("_delta_log/_last_checkpoint").await?;
        }
        tracing::debug!(sink = self.name, version, "delta commit");
        self.staged = None;
        Ok(())
    }

    /// Writes the data files, durably; the same deliveries are written once.
    async fn stage(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Add>> {
        let ranges: Vec<_> = deliveries.iter().map(|d| (d.feed.clone(), d.start_offset, d.end_offset)).collect();
        if let Some(staged) = self.staged.as_ref().filter(|staged| staged.ranges == ranges) {
            return Ok(staged.adds.clone());
        }
        let batches =
            deliveries.iter().map(|delivery| normalise(&delivery.rows, &self.schema)).collect::<Result<Vec<_>>>()?;
        let rows = concat_batches(&self.schema, &batches)?;
        let (by, schema, timestamp) = (self.partition_by.clone(), Arc::clone(&self.schema), self.timestamp.clone());
        let files = tokio::task::spawn_blocking(move || new_files(&rows, &by, &schema, timestamp.as_deref())).await;
        let files = files.map_err(|error| self.location.unavailable(&error))??;
        let mut adds = Vec::with_capacity(files.len());
        for file in files {
            let size = i64::try_from(file.bytes.len()).unwrap_or(i64::MAX);
            self.location.put(&file.name, file.bytes).await?;
            adds.push(Add {
                path: file.name,
                partition_values: file.partition,
                size,
                modification_time: Utc::now().timestamp_millis(),
                data_change: true,
                stats: Some(file.stats),
                ..Add::default()
            });
        }
        self.staged = Some(Staged { ranges, adds: adds.clone() });
        Ok(adds)
    }

    fn failed(&self, error: DeltaTableError) -> Error {
        match error {
            DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(CommitConflictError::ConcurrentTransaction),
            } => self.conflict("a commit with the same application transaction".to_owned()),
            error => self.location.unavailable(&error),
        }
    }

    fn conflict(&self, reason: String) -> Error {
        Error::Conflict { destination: self.location.folder().display().to_string(), reason }
    }

    /// The table as it is now, or as `create` wants it.
    async fn current_table(&mut self) -> Result<Option<DeltaTable>> {
        // Taken, so that a table in an unknown state after an error is loaded anew.
        match self.table.take() {
            Some(mut table) => {
                table.update_state().await.map_err(|error| self.failed(error))?;
                Ok(Some(table))
            }
            None => self.shape.open(&self.location).await,
        }
    }
}

#[async_trait]
impl Sink for DeltaSink {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn position(&mut self, feed: &FeedId) -> Result<Option<u64>> {
        let Some(table) = self.current_table().await? else { return Ok(None) };
        let next = self.next_offset(&table, feed).await?;
        self.table = Some(table);
        Ok(next)
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let table = match self.current_table().await? {
            Some(table) => table,
            None => self.shape.open_or_create(&self.location).await?,
        };
        let fresh = self.fresh(&table, deliveries).await?;
        if !fresh.is_empty() {
            self.append(&table, &fresh).await?;
        }
        self.table = Some(table);
        Ok(Outcome::default())
    }
}

/// One file for each part of the table that the rows belong to.
fn new_files(
    rows: &RecordBatch,
    by: &PartitionBy,
    schema: &SchemaRef,
    timestamp: Option<&str>,
) -> Result<Vec<NewFile>> {
    let mut files = Vec::new();
    for part in split(rows, by)? {
        let id = format!("{:032x}", rand::random::<u128>());
        let (name, partition) = match by.name(schema) {
            Some(column) => {
                let folder = part.folder(column);
                (format!("{folder}/{id}.parquet"), HashMap::from([(column.to_owned(), part.value.clone())]))
            }
            None => (format!("{id}.parquet"), HashMap::new()),
        };
        let encoded = encode(&part.rows, timestamp)?;
        files.push(NewFile { name, partition, stats: file_stats(&encoded.rows), bytes: encoded.bytes });
    }
    Ok(files)
}
