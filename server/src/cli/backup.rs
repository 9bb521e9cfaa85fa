//! `thermocline backup` and `thermocline restore`: a copy of a data directory, and a data directory of a copy.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use thermocline::Error;
use thermocline_log::{BackupReport, CopyProgress};

use super::args::{BackupArgs, RestoreArgs};
use super::{FAILURE, FINDINGS};

/// Time between two lines that say how far a copy is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn backup(args: BackupArgs) -> u8 {
    let started = Instant::now();
    match thermocline::backup_data_dir(&args.data_dir, &args.dest, told()).await {
        Ok(report) => {
            println!("{}", summary("backed up", report, &args.data_dir, &args.dest, started.elapsed()));
            0
        }
        Err(error) => fail(&error),
    }
}

pub(crate) fn restore(args: &RestoreArgs) -> u8 {
    let started = Instant::now();
    match thermocline_log::restore(&args.backup, &args.data_dir, told()) {
        Ok(report) => {
            println!("{}", summary("restored", report, &args.backup, &args.data_dir, started.elapsed()));
            0
        }
        Err(thermocline_log::Error::Corrupt { .. }) => damaged(&args.backup),
        Err(error) => fail(&Error::Log(error)),
    }
}

/// Names all damage; restoring ends at the first.
fn damaged(backup: &Path) -> u8 {
    match thermocline_log::verify_backup(backup) {
        Ok(found) => {
            for damage in &found {
                eprintln!("{damage}");
            }
            eprintln!("error: {} damaged file(s) in the backup, nothing was restored", found.len());
            FINDINGS
        }
        Err(error) => fail(&Error::Log(error)),
    }
}

fn fail(error: &Error) -> u8 {
    eprintln!("error: {}", thermocline::with_causes(error));
    FAILURE
}

/// Says now and then, on a terminal, how far a long copy is.
fn told() -> impl FnMut(CopyProgress) {
    let terminal = std::io::stderr().is_terminal();
    let mut last = Instant::now();
    move |so_far| {
        if terminal && last.elapsed() >= PROGRESS_EVERY {
            last = Instant::now();
            eprintln!("{} of {} copied", megabytes(so_far.copied_bytes), megabytes(so_far.total_bytes));
        }
    }
}

fn summary(done: &str, report: BackupReport, from: &Path, to: &Path, took: Duration) -> String {
    let BackupReport { files, bytes, taken_ms } = report;
    let taken = chrono::DateTime::from_timestamp_millis(taken_ms).unwrap_or_default().format("%FT%T%.3fZ");
    let (from, to, seconds) = (from.display(), to.display(), took.as_secs_f64());
    format!("{done} {from} as of {taken} to {to}: {files} files, {bytes} bytes, {seconds:.1} s")
}

#[allow(clippy::cast_precision_loss)] // shown with one digit
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use thermocline_log::{Log, LogOptions};

    use super::*;

    #[tokio::test]
    async fn exit_codes_tell_damage_and_failure_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (data_dir, dest) = (dir.path().join("data"), dir.path().join("copy"));
        let missing = BackupArgs { data_dir: data_dir.clone(), dest: dest.clone() };
        assert_eq!(backup(missing).await, FAILURE);
        Log::open(&data_dir, LogOptions { journal_file_bytes: 4096, ..LogOptions::default() }).unwrap();
        assert_eq!(backup(BackupArgs { data_dir, dest: dest.clone() }).await, 0);
        let to = |name: &str| RestoreArgs { backup: dest.clone(), data_dir: dir.path().join(name) };
        assert_eq!(restore(&to("restored")), 0);
        assert_eq!(restore(&to("restored")), FAILURE, "something is there");
        std::fs::write(dest.join("LOG"), [0; 32]).unwrap();
        assert_eq!(restore(&to("other")), FINDINGS);
        std::fs::remove_file(dest.join("BACKUP")).unwrap();
        assert_eq!(restore(&to("other")), FAILURE);
    }
}
