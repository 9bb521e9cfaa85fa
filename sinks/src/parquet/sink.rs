//! The sink: each delivery becomes one file in each folder that its rows belong to, written whole, then put in place
//! at once.
//!
//! A crash between a file and the cursor leaves files whose rows are delivered again, perhaps with more rows behind
//! them and so under another name. These leftovers begin exactly where the delivery does; they are removed before the
//! first write of a feed.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::naming::Naming;
use crate::columnar::{Location, PartitionBy, encode, normal_schema, normalise, split};
use crate::connector::OpenContext;
use crate::error::Result;
use crate::sink::{Delivery, FeedId, Limits, Outcome, Sink};

/// Writes Parquet files.
pub(super) struct ParquetSink {
    location: Location,
    naming: Naming,
    schema: SchemaRef,
    partition_by: PartitionBy,
    timestamp: Option<String>,
    limits: Limits,
    /// Feeds whose leftovers are removed.
    tidy: HashSet<FeedId>,
}

impl ParquetSink {
    pub(super) fn open(context: OpenContext) -> Result<Self> {
        let OpenContext { name, deployment, base_dir, options, schema } = context;
        let (normal, mistakes) = normal_schema(&schema);
        if let Some(mismatch) = mistakes.into_iter().next() {
            return Err(mismatch.into());
        }
        Ok(Self {
            location: Location::parse(options.text("location").unwrap_or_default(), &base_dir)?,
            naming: Naming::new(&name, &deployment),
            partition_by: PartitionBy::of(&options, &schema)?,
            schema: normal,
            timestamp: options.text("timestamp").map(str::to_owned),
            limits: Limits {
                max_rows: usize::try_from(options.count("max_rows")).unwrap_or(usize::MAX),
                linger: options.duration("commit_interval"),
            },
            tidy: HashSet::new(),
        })
    }

    async fn remove_leftovers(&mut self, delivery: &Delivery) -> Result<()> {
        if self.tidy.contains(&delivery.feed) {
            return Ok(());
        }
        if self.location.folder().is_dir() {
            let failed = |error: object_store::Error| self.location.unavailable(&error);
            let root = self.location.path("")?;
            let files: Vec<_> = self.location.store().list(Some(&root)).try_collect().await.map_err(failed)?;
            for file in files {
                if file.location.filename().is_some_and(|name| self.naming.is_leftover(name, delivery)) {
                    tracing::info!(file = %file.location, "removed what an interrupted delivery left");
                    self.location.store().delete(&file.location).await.map_err(failed)?;
                }
            }
        }
        self.tidy.insert(delivery.feed.clone());
        Ok(())
    }

    async fn write_files(&self, delivery: &Delivery) -> Result<()> {
        let name = self.naming.file(delivery);
        let rows = normalise(&delivery.rows, &self.schema)?;
        let (by, schema, timestamp) = (self.partition_by.clone(), Arc::clone(&self.schema), self.timestamp.clone());
        let encoded = tokio::task::spawn_blocking(move || -> Result<Vec<(String, Vec<u8>)>> {
            let mut files = Vec::new();
            for part in split(&rows, &by)? {
                let path = match by.name(&schema) {
                    Some(column) => format!("{}/{name}", part.folder(column)),
                    None => name.clone(),
                };
                files.push((path, encode(&part.rows, timestamp.as_deref())?.bytes));
            }
            Ok(files)
        });
        let files = encoded.await.map_err(|error| self.location.unavailable(&error))??;
        for (path, bytes) in files {
            self.location.put(&path, bytes).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for ParquetSink {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        for delivery in deliveries {
            self.remove_leftovers(delivery).await?;
            self.write_files(delivery).await?;
        }
        Ok(Outcome::default())
    }
}
