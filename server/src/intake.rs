//! What comes in: the streams that doors are open to, and the connectors that the server reads itself.

use std::sync::Arc;

use thermocline_gateway::connector::{ConnectorContext, ConnectorEnd, ConnectorStatus, open_connector};
use thermocline_gateway::{
    Metadata, MetadataColumn, StreamInput, StreamRegistry, TimestampUnit, rejected_schema, rejected_stream_name,
};
use thermocline_log::{Log, Retention, StreamSpec};
use thermocline_sql::{Pipeline, StreamDef};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::load::{Env, connector_options};

/// Opens the doors to every stream of the pipeline; the engine has created the streams themselves.
pub(crate) async fn open_doors(log: &Log, pipeline: &Pipeline) -> Result<StreamRegistry> {
    let registry = StreamRegistry::new();
    for definition in pipeline.streams.values() {
        let retention = Retention { max_age: definition.retention, max_bytes: definition.max_size_bytes };
        let rejected =
            StreamSpec { retention, ..StreamSpec::new(rejected_stream_name(&definition.name), rejected_schema()) };
        let rejected = log.create_stream(rejected).await?;
        let stream = log
            .stream(&definition.name)
            .ok_or_else(|| thermocline_log::Error::UnknownStream { name: definition.name.clone() })?;
        let event_time = definition.event_time.as_ref();
        registry.register(StreamInput {
            stream,
            rejected,
            event_time_column: event_time.map(|time| time.column),
            max_skew_us: event_time.and_then(|time| time.max_skew_us),
            timestamp_unit: unit(definition.timestamp_unit),
            metadata: definition.metadata.iter().map(metadata).collect(),
        });
    }
    Ok(registry)
}

fn metadata(column: &thermocline_sql::MetadataColumn) -> MetadataColumn {
    let metadata = match column.metadata {
        thermocline_sql::Metadata::Key => Metadata::Key,
        thermocline_sql::Metadata::Topic => Metadata::Topic,
        thermocline_sql::Metadata::Timestamp => Metadata::Timestamp,
        thermocline_sql::Metadata::Headers => Metadata::Headers,
    };
    MetadataColumn { column: column.column, metadata }
}

fn unit(unit: thermocline_sql::TimestampUnit) -> TimestampUnit {
    match unit {
        thermocline_sql::TimestampUnit::Second => TimestampUnit::Second,
        thermocline_sql::TimestampUnit::Millisecond => TimestampUnit::Millisecond,
        thermocline_sql::TimestampUnit::Microsecond => TimestampUnit::Microsecond,
        thermocline_sql::TimestampUnit::Nanosecond => TimestampUnit::Nanosecond,
    }
}

/// The running connectors.
#[derive(Debug)]
pub(crate) struct Connectors {
    running: JoinSet<(String, Result<ConnectorEnd, thermocline_gateway::Error>)>,
    status: Vec<(String, Arc<ConnectorStatus>)>,
    shutdown: CancellationToken,
}

impl Connectors {
    /// Starts the connector of every stream that has one.
    pub(crate) fn start(log: &Log, pipeline: &Pipeline, registry: &StreamRegistry, env: Env<'_>) -> Result<Self> {
        let shutdown = CancellationToken::new();
        let mut connectors = Self { running: JoinSet::new(), status: Vec::new(), shutdown };
        for stream in pipeline.streams.values() {
            if let Some(connector) = &stream.connector {
                connectors.start_one(log, stream, connector, registry, env)?;
            }
        }
        Ok(connectors)
    }

    fn start_one(
        &mut self,
        log: &Log,
        stream: &StreamDef,
        connector: &str,
        registry: &StreamRegistry,
        env: Env<'_>,
    ) -> Result<()> {
        let options = connector_options(&stream.options, env);
        let connector = open_connector(connector, &options, &stream.base_dir)?;
        let input = registry.find(&stream.name).expect("a door was opened to every stream").input.clone();
        let context = ConnectorContext::new(log.clone(), input, self.shutdown.clone());
        let name = stream.name.clone();
        self.status.push((name.clone(), connector.status()));
        self.running.spawn(async move { (name, connector.run(context).await) });
        Ok(())
    }

    /// What each connector has done, by its stream.
    pub(crate) fn status(&self) -> &[(String, Arc<ConnectorStatus>)] {
        &self.status
    }

    /// Resolves when every connector has come to its end.
    ///
    /// # Errors
    /// The first failure; the other connectors go on.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok((_, Ok(_))) => {}
                Ok((stream, Err(error))) => {
                    tracing::error!(stream, %error, "connector stopped");
                    return Err(Error::Gateway(error));
                }
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        Ok(())
    }

    /// Asks every connector to stop and waits until its last rows are durable.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.shutdown.cancel();
        self.ended().await
    }
}
