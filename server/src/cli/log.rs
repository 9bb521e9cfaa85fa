//! `thermocline log`: looks at a data directory that no process has open, and changes nothing in it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use thermocline::Error;
use thermocline_log::{Inspection, PartitionInspection};

use super::args::{InspectFormat, LogCommand};
use super::{FAILURE, FINDINGS};

pub(crate) fn log(command: &LogCommand) -> u8 {
    let (text, code) = match answer(command) {
        Ok(answered) => answered,
        Err(error) => {
            eprintln!("error: {}", thermocline::with_causes(&error));
            return FAILURE;
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: write standard output: {error}");
            FAILURE
        }
        _ => code,
    }
}

/// What is printed, and the exit code.
fn answer(command: &LogCommand) -> Result<(String, u8), Error> {
    match command {
        LogCommand::Inspect { dir, format } => {
            let found = thermocline_log::inspect(dir)?;
            let text = match format {
                InspectFormat::Table => table(&found),
                InspectFormat::Json => format!("{:#}\n", as_json(&found)),
            };
            Ok((text, 0))
        }
        LogCommand::Verify { dir } => verify(dir),
    }
}

fn verify(dir: &Path) -> Result<(String, u8), Error> {
    let mut found = thermocline_log::verify(dir)?;
    if thermocline_log::is_backup(dir) {
        // What only the backup's own list tells: files of queries, missing files.
        let mut listed = thermocline_log::verify_backup(dir)?;
        listed.retain(|damage| !found.iter().any(|known| known.path == damage.path));
        found.extend(listed);
    }
    if found.is_empty() {
        return Ok((format!("{}: ok\n", dir.display()), 0));
    }
    let lines: String = found.iter().map(|damage| format!("{damage}\n")).collect();
    Ok((format!("{lines}{} damaged place(s)\n", found.len()), FINDINGS))
}

fn table(found: &Inspection) -> String {
    let names = found.streams.iter().map(|found| found.stream.name().len());
    let width = names.chain(["stream".len()]).max().unwrap_or(0);
    let mut text = format!(
        "{:<width$} {:>6} {:>9} {:>12} {:>12} {:>12} {:>8} {:>14}  cursors\n",
        "stream", "schema", "partition", "start", "sealed", "end", "segments", "segment bytes"
    );
    for stream in &found.streams {
        for partition in &stream.partitions {
            let PartitionInspection { partition: number, start_offset, sealed_offset, end_offset, .. } = partition;
            let cursors: Vec<_> = partition.cursors.iter().map(|(name, next)| format!("{name}={next}")).collect();
            let line = format!(
                "{:<width$} {:>6} {number:>9} {start_offset:>12} {sealed_offset:>12} {end_offset:>12} {:>8} {:>14}  {}",
                stream.stream.name(),
                stream.stream.schema_version(),
                partition.segments.len(),
                partition.segment_bytes(),
                cursors.join(" ")
            );
            text += line.trim_end();
            text.push('\n');
        }
    }
    let Inspection { journal_files, journal_bytes, torn_bytes, values, idempotency_keys, producers, .. } = found;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "journal: {journal_files} file(s), {journal_bytes} bytes, {torn_bytes} torn; named values: {values}; \
         remembered: {idempotency_keys} idempotency key(s), {producers} producer(s)"
    );
    text
}

fn as_json(found: &Inspection) -> Value {
    let partition = |found: &PartitionInspection| {
        let segments = found.segments.iter().map(|segment| {
            json!({
                "path": segment.path.display().to_string(),
                "start_offset": segment.start_offset,
                "end_offset": segment.end_offset,
                "bytes": segment.bytes,
            })
        });
        let cursors = found.cursors.iter().map(|(name, next)| (name.clone(), Value::from(*next)));
        json!({
            "partition": found.partition,
            "start_offset": found.start_offset,
            "sealed_offset": found.sealed_offset,
            "end_offset": found.end_offset,
            "segments": segments.collect::<Vec<_>>(),
            "cursors": Value::Object(cursors.collect()),
        })
    };
    let streams = found.streams.iter().map(|found| {
        let spec = found.stream.spec();
        let columns = spec.schema.fields().iter().map(|field| {
            json!({ "name": field.name(), "type": field.data_type().to_string(), "nullable": field.is_nullable() })
        });
        json!({
            "name": spec.name,
            "schema_version": found.stream.schema_version(),
            "columns": columns.collect::<Vec<_>>(),
            "partition_key": spec.partition_key,
            "partitions": found.partitions.iter().map(partition).collect::<Vec<_>>(),
        })
    });
    json!({
        "streams": streams.collect::<Vec<_>>(),
        "journal": {
            "files": found.journal_files,
            "bytes": found.journal_bytes,
            "torn_bytes": found.torn_bytes,
        },
        "values": found.values,
        "remembered": { "idempotency_keys": found.idempotency_keys, "producers": found.producers },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use thermocline_log::{Commit, Log, LogOptions, StreamSpec};

    use super::*;

    /// A data directory of one sealed stream, and its segment.
    async fn data_dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        let log = Log::open(dir.path(), LogOptions { journal_file_bytes: 4096, ..LogOptions::default() }).unwrap();
        let stream = log.create_stream(StreamSpec::new("numbers", rows.schema())).await.unwrap();
        let mut commit = Commit::new();
        commit.append(stream.id(), rows).move_cursor("report", stream.id(), 0, 1).idempotency_key("k", 1);
        log.commit(commit).await.unwrap();
        log.seal().await.unwrap();
        let segment = log.segments(stream.id(), 0).unwrap()[0].path.clone();
        log.close().await.unwrap();
        (dir, segment)
    }

    #[tokio::test]
    async fn inspect_shows_streams_offsets_and_cursors() {
        let (dir, _) = data_dir().await;
        let inspect = |format| answer(&LogCommand::Inspect { dir: dir.path().to_owned(), format }).unwrap();
        let (text, code) = inspect(InspectFormat::Table);
        assert_eq!(code, 0);
        let words: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words[..7], ["numbers", "1", "0", "0", "2", "2", "1"]);
        assert_eq!(words[8], "report=1");
        assert!(text.ends_with("remembered: 1 idempotency key(s), 0 producer(s)\n"), "{text}");
        let (text, _) = inspect(InspectFormat::Json);
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["streams"][0]["schema_version"], 1);
        assert_eq!(found["streams"][0]["partitions"][0]["end_offset"], 2);
        assert_eq!(found["streams"][0]["partitions"][0]["cursors"], json!({ "report": 1 }));
        assert_eq!(found["remembered"], json!({ "idempotency_keys": 1, "producers": 0 }));
    }

    #[tokio::test]
    async fn verify_tells_damage_and_failure_apart() {
        let (dir, segment) = data_dir().await;
        let command = LogCommand::Verify { dir: dir.path().to_owned() };
        assert_eq!(log(&command), 0);
        let mut content = std::fs::read(&segment).unwrap();
        content[20] ^= 1;
        std::fs::write(&segment, content).unwrap();
        let (text, code) = answer(&command).unwrap();
        assert_eq!(code, FINDINGS);
        assert!(text.contains(&segment.display().to_string()), "{text}");
        assert_eq!(log(&LogCommand::Verify { dir: dir.path().join("nowhere") }), FAILURE);
    }
}
