//! What can be written on the command line; the help text is made of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Hot, warm and cold paths for sensor streams: a durable log, continuous SQL, alerts, series and an archive.
#[derive(Debug, Parser)]
#[command(name = "thermocline", version, about, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline
    Run(RunArgs),
    /// Check a pipeline completely without running it
    Check(CheckArgs),
    /// Query what the streams hold
    Sql(SqlArgs),
    /// Copy a data directory to an empty one, also while a server runs on it
    Backup(BackupArgs),
    /// Make a data directory of a backup; every byte is checked
    Restore(RestoreArgs),
    /// Look at a data directory that no server holds; nothing in it is changed
    #[command(subcommand)]
    Log(LogCommand),
}

impl Command {
    /// Whether it logs what goes on, rather than answer and end.
    pub(crate) fn is_long_running(&self) -> bool {
        matches!(self, Self::Run(_))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Folder of .sql files, or one file
    pub(crate) path: PathBuf,
    /// Where rows, positions and state are kept
    #[arg(long, value_name = "DIR", default_value = "thermocline-data")]
    pub(crate) data_dir: PathBuf,
    /// Address that HTTP listens on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub(crate) listen: SocketAddr,
    /// Memory for the queries' state, as `2GiB`; by default half of what the machine or its container has
    #[arg(long, env = "THERMOCLINE_MEMORY_LIMIT", value_name = "SIZE", value_parser = size)]
    pub(crate) memory_limit: Option<u64>,
    /// End when every finite source is read: close all windows, let every sink catch up, exit
    #[arg(long)]
    pub(crate) exit_when_done: bool,
}

/// A size as the options of streams have it, of at least a mebibyte.
fn size(text: &str) -> Result<u64, String> {
    match thermocline_sql::size_bytes(text) {
        Some(bytes) if bytes >= 1 << 20 => Ok(bytes),
        Some(_) => Err("at least 1MiB is needed".into()),
        None => Err("expected a size like 2GiB or 500MB".into()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Folder of .sql files, or one file
    pub(crate) path: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SqlArgs {
    /// The query
    pub(crate) query: String,
    /// Data directory to query; one that a running server holds is queried through that server
    #[arg(long, value_name = "DIR", default_value = "thermocline-data", conflicts_with = "url")]
    pub(crate) data_dir: PathBuf,
    /// Server to query
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The data directory
    #[arg(value_name = "DATA")]
    pub(crate) data_dir: PathBuf,
    /// Directory for the copy; must be empty or not exist. A running server writes it, as its own user
    pub(crate) dest: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    pub(crate) backup: PathBuf,
    /// Directory for the data; must be empty or not exist
    #[arg(value_name = "DATA")]
    pub(crate) data_dir: PathBuf,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// One JSON object a line
    Json,
    /// CSV with a header line
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show streams, partitions, offsets, segments and cursors
    Inspect {
        /// The data directory
        dir: PathBuf,
        /// How they are shown
        #[arg(long, value_enum, default_value_t = InspectFormat::Table)]
        format: InspectFormat,
    },
    /// Check every frame and segment; exit code 1 when there is damage, which is named
    Verify {
        /// The data directory
        dir: PathBuf,
    },
}

/// How an inspected data directory is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// A table for people, one line a partition
    Table,
    /// One JSON object
    Json,
}
