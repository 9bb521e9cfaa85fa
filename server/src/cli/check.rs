//! `thermocline check`: every mistake of a pipeline in one run.

use super::args::CheckArgs;
use super::{FAILURE, FINDINGS, env};

pub(crate) async fn check(args: CheckArgs) -> u8 {
    match thermocline::load(&args.path, &env).await {
        Ok((pipeline, findings)) => {
            if !findings.diagnostics.is_empty() {
                eprintln!("{}", findings.render());
            }
            match pipeline {
                Some(pipeline) => {
                    println!(
                        "{}: ok ({} streams, {} queries, {} alerts, {} sinks)",
                        args.path.display(),
                        pipeline.streams.len(),
                        pipeline.queries.len(),
                        pipeline.alerts.len(),
                        pipeline.sinks.len()
                    );
                    0
                }
                None => {
                    eprintln!("{} error(s)", findings.errors());
                    FINDINGS
                }
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            if error.exit_code() == FAILURE { FAILURE } else { FINDINGS }
        }
    }
}
