//! The command line. Exit codes: 0 ok, 1 findings, 2 usage, 3 failure.

mod args;
mod backup;
mod check;
mod log;
mod logging;
mod progress;
mod run;
mod sql;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// A part of the process failed.
pub(crate) const FAILURE: u8 = 3;
/// The pipeline or the query has mistakes.
pub(crate) const FINDINGS: u8 = 1;

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    logging::init(args.command.is_long_running());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: threads cannot be started: {error}");
            return ExitCode::from(FAILURE);
        }
    };
    let code = runtime.block_on(async {
        match args.command {
            Command::Run(args) => run::run(args).await,
            Command::Check(args) => check::check(args).await,
            Command::Sql(args) => sql::sql(args).await,
            Command::Backup(args) => backup::backup(args).await,
            Command::Restore(args) => backup::restore(&args),
            Command::Log(command) => log::log(&command),
        }
    });
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Environment variables of the process.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
