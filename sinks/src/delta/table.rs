//! The table itself: opened, or created if it is missing, and compared with what the sink writes.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::{DataType, StructField, StructType};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaResult, DeltaTable, DeltaTableBuilder, DeltaTableError, TableProperty};

use crate::columnar::{Location, PartitionBy};
use crate::error::{Error, Result};

/// Commits between two checkpoints.
const CHECKPOINT_INTERVAL: &str = "100";

/// What a table must look like.
#[derive(Debug)]
pub(super) struct TableShape {
    columns: StructType,
    partition_columns: Vec<String>,
}

impl TableShape {
    /// The shape for rows of a schema; a date partition adds its column.
    pub(super) fn of(schema: &Schema, by: &PartitionBy) -> Result<Self> {
        let rows: StructType = schema.try_into_kernel()?;
        let mut fields: Vec<StructField> = rows.fields().cloned().collect();
        if let PartitionBy::Date(_) = by {
            fields.push(StructField::nullable("date", DataType::DATE));
        }
        let misfit = |error: &dyn std::fmt::Display| Error::Schema {
            expected: "columns that a Delta table can have".into(),
            found: error.to_string(),
        };
        Ok(Self {
            columns: StructType::try_new(fields).map_err(|error| misfit(&error))?,
            partition_columns: by.name(schema).map(str::to_owned).into_iter().collect(),
        })
    }

    /// Opens the table, `None` where there is none.
    pub(super) async fn open(&self, location: &Location) -> Result<Option<DeltaTable>> {
        if !location.folder().join("_delta_log").is_dir() {
            return Ok(None);
        }
        let failed = |error: DeltaTableError| location.unavailable(&error);
        let mut table = build(location).map_err(failed)?;
        match table.load().await {
            Ok(()) => {}
            Err(DeltaTableError::NotATable(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        self.compare(&table, location)?;
        Ok(Some(table))
    }

    /// Opens the table, creating it where there is none.
    pub(super) async fn open_or_create(&self, location: &Location) -> Result<DeltaTable> {
        if let Some(table) = self.open(location).await? {
            return Ok(table);
        }
        std::fs::create_dir_all(location.folder()).map_err(|error| location.unavailable(&error))?;
        let failed = |error: DeltaTableError| location.unavailable(&error);
        let table = CreateBuilder::new()
            .with_log_store(build(location).map_err(failed)?.log_store())
            .with_save_mode(SaveMode::Ignore)
            .with_columns(self.columns.fields().cloned())
            .with_partition_columns(self.partition_columns.iter())
            .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_INTERVAL))
            .await
            .map_err(failed)?;
        location.sync(&commit_file(0)).await?;
        self.compare(&table, location)?;
        tracing::info!(location = %location.url(), "delta table created");
        Ok(table)
    }

    fn compare(&self, table: &DeltaTable, location: &Location) -> Result<()> {
        let snapshot = table.snapshot().map_err(|error| location.unavailable(&error))?;
        let schema = snapshot.schema();
        let found_partitions: Vec<String> = snapshot.metadata().partition_columns().to_vec();
        let describe = |columns: &StructType, partitions: &[String]| {
            let columns: Vec<String> =
                columns.fields().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
            format!("({}) partitioned by ({})", columns.join(", "), partitions.join(", "))
        };
        let kinds = |columns: &StructType| -> BTreeMap<String, DataType> {
            columns.fields().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        // A table that takes nulls takes rows without any; not the other way round.
        let is_stricter = self
            .columns
            .fields()
            .any(|field| field.is_nullable() && schema.field(field.name()).is_some_and(|found| !found.is_nullable()));
        if kinds(&schema) == kinds(&self.columns) && found_partitions == self.partition_columns && !is_stricter {
            return Ok(());
        }
        let strict = if is_stricter { ", some columns not null" } else { "" };
        Err(Error::Refused {
            destination: location.folder().display().to_string(),
            reason: format!(
                "the table does not fit the rows: expected {}, found {}{strict}",
                describe(&self.columns, &self.partition_columns),
                describe(&schema, &found_partitions),
            ),
        })
    }
}

/// Name of a commit's file, relative to the table.
pub(super) fn commit_file(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

fn build(location: &Location) -> DeltaResult<DeltaTable> {
    DeltaTableBuilder::from_url(location.url().clone())?.build()
}
