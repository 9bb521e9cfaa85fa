//! `thermocline run`: the pipeline until it is done or told to stop.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use thermocline::{Error, Server, ServerSettings};
use thermocline_log::LogOptions;
use tokio::signal::unix::{SignalKind, signal};

use super::args::RunArgs;
use super::progress::Progress;
use super::{FAILURE, FINDINGS, env};

pub(crate) async fn run(args: RunArgs) -> u8 {
    match try_run(args).await {
        Ok(()) => 0,
        Err(Error::Pipeline(findings)) => {
            eprintln!("{}\n{} error(s)", findings.render(), findings.errors());
            FINDINGS
        }
        Err(error) => {
            tracing::error!(%error, "thermocline stopped");
            eprintln!("error: {}", thermocline::with_causes(&error));
            error.exit_code()
        }
    }
}

async fn try_run(args: RunArgs) -> Result<(), Error> {
    let (pipeline, mut findings) = thermocline::load(&args.path, &env).await?;
    let Some(pipeline) = pipeline else { return Err(Error::Pipeline(Box::new(findings))) };
    findings.diagnostics.extend(thermocline::missing_secrets(&pipeline, &env));
    if findings.errors() > 0 {
        return Err(Error::Pipeline(Box::new(findings)));
    }
    if !findings.diagnostics.is_empty() {
        eprintln!("{}", findings.render());
    }
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|e| Error::Metrics(e.to_string()))?;
    // Before anything is started: a signal that comes meanwhile is kept until it is asked for.
    let mut signals = Signals::new()?;
    let settings = ServerSettings {
        pipeline: pipeline.clone(),
        data_dir: args.data_dir,
        listen: args.listen,
        log: LogOptions::default(),
        metrics: Some(metrics),
        checkpoint_rows: None,
        memory_limit_bytes: args.memory_limit,
    };
    let mut server = match Server::start(settings, &env).await {
        Ok(server) => server,
        Err(error) => {
            let Some(conflict) = thermocline::stored_conflict(&pipeline, &error) else { return Err(error) };
            findings.diagnostics = vec![conflict];
            return Err(Error::Pipeline(Box::new(findings)));
        }
    };
    let mut progress = Progress::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut sources_ended = false;
    let mut failure = None;
    loop {
        tokio::select! {
            () = signals.any() => break,
            _ = tick.tick() => progress.show(&server.report()),
            ended = server.sources_ended(), if !sources_ended => {
                sources_ended = true;
                failure = ended.err();
                // A server goes on without the source that failed; a run that is to end with it has failed.
                if args.exit_when_done {
                    break;
                }
            }
        }
    }
    progress.show(&server.report());
    let ending = async {
        match failure {
            None if sources_ended && args.exit_when_done => server.finish().await,
            None => server.stop().await,
            Some(error) => server.stop().await.and(if args.exit_when_done { Err(error) } else { Ok(()) }),
        }
    };
    tokio::select! {
        ended = ending => ended,
        // The log is as safe as after kill -9: what was acknowledged is there.
        () = signals.any() => std::process::exit(i32::from(FAILURE)),
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::Io { action: "listen for signals in", path: "process".into(), source })
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
