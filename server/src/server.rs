//! A running pipeline: starts the parts in the order rows need them, ends them in the order rows flow.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use thermocline_engine::{Engine, EngineSettings, MonotonicClock};
use thermocline_gateway::http::{HttpOptions, HttpState};
use thermocline_log::{Commit, Log, LogOptions};
use thermocline_sinks::Phase;
use thermocline_sql::Pipeline;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::delivery::Deliveries;
use crate::error::{Error, Result};
use crate::intake::{Connectors, open_doors};
use crate::load::Env;
use crate::queries::EngineQueries;
use crate::status::{ConnectorReport, QueryReport, SinkReport, StatusReport};

/// The file of a data directory that says where its server listens.
const ADDRESS_FILE: &str = "address";

/// Name of the value that identifies an installation.
const DEPLOYMENT: &str = "deployment";

/// How a server is started.
#[derive(Debug)]
pub struct ServerSettings {
    /// The checked pipeline.
    pub pipeline: Pipeline,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where HTTP listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How the log is opened.
    pub log: LogOptions,
    /// Renders `/metrics`; empty when `None`.
    pub metrics: Option<PrometheusHandle>,
    /// Rows of a partition between checkpoints of query state; the default when `None`.
    pub checkpoint_rows: Option<u64>,
    /// Bytes that the state of queries may take; half of the machine's or container's memory when `None`.
    pub memory_limit_bytes: Option<u64>,
}

/// A running pipeline.
#[derive(Debug)]
pub struct Server {
    log: Log,
    pipeline: Pipeline,
    engine: Engine,
    connectors: Connectors,
    deliveries: Deliveries,
    http: JoinHandle<()>,
    http_shutdown: CancellationToken,
    /// None where the file system has no sockets.
    control: Option<Control>,
    address: SocketAddr,
    started: Instant,
}

impl Server {
    /// Opens the log, recovers and starts the queries, then the sinks, then the doors, then the connectors.
    ///
    /// # Errors
    /// Any part that cannot be started; nothing is left running then.
    pub async fn start(settings: ServerSettings, env: Env<'_>) -> Result<Self> {
        let ServerSettings { pipeline, data_dir, listen, log, metrics, checkpoint_rows, memory_limit_bytes } = settings;
        // The port first: a second server is turned away before it touches anything.
        let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { address: listen, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address: listen, source })?;
        let log = Log::open(&data_dir, log)?;
        let deployment = deployment(&log).await?;
        let engine = Engine::start(EngineSettings {
            log: log.clone(),
            pipeline: pipeline.clone(),
            clock: Arc::new(MonotonicClock::default()),
            deployment: deployment.clone(),
            checkpoint_rows,
            memory_limit_bytes,
        })
        .await?;
        let registry = open_doors(&log, &pipeline).await?;
        let deliveries = Deliveries::start(&engine, &log, &pipeline, &deployment, env).await?;
        let queries = Arc::new(EngineQueries(engine.adhoc()));
        let statuses: Vec<_> = engine.status().map(|(name, status)| (name.to_owned(), Arc::clone(status))).collect();
        let for_readiness = log.clone();
        let readiness = move || {
            let failed = statuses.iter().filter_map(|(name, s)| Some(format!("query {name}: {}", s.error()?)));
            let full = for_readiness.is_disk_full().then(|| "the disk is nearly full: rows are refused".to_owned());
            failed.chain(full).collect()
        };
        let render = move || metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
        let state = HttpState::new(log.clone(), registry.clone(), HttpOptions::default())
            .with_queries(queries)
            .with_readiness(readiness)
            .with_metrics(render);
        let http_shutdown = CancellationToken::new();
        let http = tokio::spawn(thermocline_gateway::http::serve(listener, state, http_shutdown.clone()));
        let control = Control::open(&log)
            .inspect_err(|error| tracing::warn!(%error, "no control socket: backups only while the server is stopped"));
        publish_address(&data_dir, address)?;
        let connectors = Connectors::start(&log, &pipeline, &registry, env)?;
        tracing::info!(%address, data_dir = %data_dir.display(), "thermocline is up");
        let started = Instant::now();
        Ok(Self {
            log,
            pipeline,
            engine,
            connectors,
            deliveries,
            http,
            http_shutdown,
            control: control.ok(),
            address,
            started,
        })
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The log, for embedding: append to it, read from it.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What has been done so far.
    #[must_use]
    pub fn report(&self) -> StatusReport {
        let rows = |name: &str| {
            let Some(stream) = self.log.stream(name) else { return 0 };
            (0..stream.partitions()).filter_map(|p| self.log.range(stream.id(), p).ok()).map(|range| range.end).sum()
        };
        StatusReport {
            uptime: self.started.elapsed(),
            rows: self.pipeline.streams.keys().map(|name| rows(name)).sum::<u64>(),
            connectors: self
                .connectors
                .status()
                .iter()
                .map(|(stream, status)| ConnectorReport {
                    stream: stream.clone(),
                    rows: status.rows(),
                    rejected: status.rejected(),
                    finished: status.is_finished(),
                })
                .collect(),
            queries: self
                .engine
                .status()
                .map(|(name, status)| QueryReport {
                    name: name.to_owned(),
                    rows_in: status.rows_in(),
                    rows_out: status.rows_out(),
                    late: status.late(),
                    lag: status.lag(),
                    error: status.error(),
                })
                .collect(),
            sinks: self
                .deliveries
                .status()
                .iter()
                .map(|status| SinkReport {
                    name: status.name().to_owned(),
                    state: status.state().as_str(),
                    delivered: status.delivered_rows(),
                    rejected: status.rejected_rows(),
                    lag: status.lag_rows(),
                    error: status.last_error(),
                })
                .collect(),
        }
    }

    /// Resolves when every connector has come to its end: nothing more will come but through the doors.
    ///
    /// # Errors
    /// The first failure of a connector.
    pub async fn sources_ended(&mut self) -> Result<()> {
        self.connectors.ended().await
    }

    /// Ends a pipeline whose sources have ended: reads to the end, closes all windows, delivers everything.
    ///
    /// # Errors
    /// The first failure of a part; the others are ended all the same.
    pub async fn finish(mut self) -> Result<()> {
        let intake = self.stop_intake().await;
        let queries = self.engine.finish().await.map_err(Error::from);
        self.deliveries.end(Phase::Drain).await;
        self.close(intake.and(queries)).await
    }

    /// Ends it in order: intake stops, what is under way is stored, all goes on after a restart.
    ///
    /// # Errors
    /// The first failure of a part; the others are ended all the same.
    pub async fn stop(mut self) -> Result<()> {
        let intake = self.stop_intake().await;
        // A step over many rows may take a while. What it has gathered is gathered again after the restart.
        let queries = match tokio::time::timeout(STOP_BOUND, self.engine.stop()).await {
            Ok(stopped) => stopped.map_err(Error::from),
            Err(_) => {
                tracing::warn!("a query did not stop in time; what it has not stored is computed again");
                Ok(())
            }
        };
        // A sink that is down must not keep the process: what it has not taken stays in the log.
        let stopped = self.deliveries.end(Phase::Stop);
        if tokio::time::timeout(STOP_BOUND, stopped).await.is_err() {
            tracing::warn!("a sink did not stop in time; its rows stay in the log");
        }
        self.close(intake.and(queries)).await
    }

    async fn close(mut self, ended: Result<()>) -> Result<()> {
        self.control.take();
        // Nobody listens there any more; a file that stays only costs a failed attempt.
        let _ = std::fs::remove_file(self.log.dir().join(ADDRESS_FILE));
        let closed = self.log.close().await.map_err(Error::from);
        ended.and(closed)
    }

    async fn stop_intake(&mut self) -> Result<()> {
        self.http_shutdown.cancel();
        let stopped = self.connectors.stop().await;
        if let Err(panicked) = (&mut self.http).await
            && panicked.is_panic()
        {
            std::panic::resume_unwind(panicked.into_panic());
        }
        stopped
    }
}

/// How long the queries, and then the sinks, may take to store and to finish what is under way when the server is stopped.
const STOP_BOUND: Duration = Duration::from_secs(10);

/// This installation's identity, made at its first start.
async fn deployment(log: &Log) -> Result<String> {
    if let Some(stored) = log.value(DEPLOYMENT) {
        return Ok(String::from_utf8_lossy(&stored).into_owned());
    }
    let made = format!("{:032x}", rand::random::<u128>());
    let mut commit = Commit::new();
    commit.put(DEPLOYMENT, made.as_str());
    log.commit(commit).await?;
    Ok(made)
}

fn publish_address(data_dir: &Path, address: SocketAddr) -> Result<()> {
    let path = data_dir.join(ADDRESS_FILE);
    std::fs::write(&path, address.to_string()).map_err(|source| Error::Io { action: "write", path, source })
}

/// Where the server of a data directory listens, as far as the directory knows; it may be gone.
#[must_use]
pub fn server_address(data_dir: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(data_dir.join(ADDRESS_FILE)).ok()?.trim().parse().ok()
}
