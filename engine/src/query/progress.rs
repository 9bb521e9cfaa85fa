//! What a query keeps in the log beside its rows: how far it has read, what it has closed, the decisions that took the
//! clock, and where its snapshots are. All of it is committed together with the rows it belongs to.
//!
//! | name | value |
//! | --- | --- |
//! | cursor `query/<name>` | per partition, the first offset that recovery needs |
//! | `query/<name>/text` | the query the state belongs to |
//! | `query/<name>/progress` | what was emitted: up to which window, up to which offsets |
//! | `query/<name>/snapshot/<partition>` | name of the snapshot file; of a windowed query several, a line each: all but the first hold what changed since the one before |
//! | `query/<name>/absence/<number>` | what a query that watches for silence decided, with the clock or a table |
//! | `query/<name>/decision/<partition>/<offset>` | the watermark that was decided before the row of that offset |
//! | `query/<name>/finish/<partition>/<offset>` | before the row of that offset every key's windows were closed |

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use thermocline_log::{Commit, Log, Stream};

use crate::error::{Error, Result};
use crate::ordered::Decision as Absent;
use crate::window::Position;

/// What a query has emitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Windows that end here or before were emitted.
    pub(crate) closed_us: i64,
    /// Windows that end here or before take no rows any more; as `closed_us` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settled_us: Option<i64>,
    /// Per partition: rows below this offset were read when that was so.
    pub(crate) next_offsets: Vec<u64>,
}

impl Progress {
    /// How far windows were closed.
    pub(crate) fn position(&self) -> Position {
        Position { closed_us: self.closed_us, settled_us: self.settled_us.unwrap_or(self.closed_us) }
    }
}

/// A watermark that was decided with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// It holds before the row of this offset.
    pub(crate) offset: u64,
    /// The watermark.
    pub(crate) watermark_us: i64,
}

/// Names and values of one query in the log.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    query: String,
}

impl Ledger {
    pub(crate) fn new(query: &str) -> Self {
        Self { query: query.to_owned() }
    }

    /// What belongs to one input of a query that has several; the first one's also holds what belongs to the query.
    pub(crate) fn of_input(query: &str, input: usize) -> Self {
        match input {
            0 => Self::new(query),
            _ => Self { query: format!("{query}@{input}") },
        }
    }

    /// Name of the cursor.
    pub(crate) fn cursor(&self) -> String {
        format!("query/{}", self.query)
    }

    /// Where the cursor of a partition stands. One that never moved is placed at the start: retention waits for it.
    pub(crate) fn register(&self, log: &Log, stream: &Stream, partition: u32, commit: &mut Commit) -> u64 {
        log.cursor(&self.cursor(), stream.id(), partition).unwrap_or_else(|| {
            let start = log.range(stream.id(), partition).map_or(0, |range| range.start);
            commit.move_cursor(&self.cursor(), stream.id(), partition, start);
            start
        })
    }

    fn name(&self, what: &str) -> String {
        format!("query/{}/{what}", self.query)
    }

    /// Stores the text of the query; tells whether there is state of another text.
    pub(crate) fn claim(&self, log: &Log, sql: &str, commit: &mut Commit) -> bool {
        let name = self.name("text");
        let stored = log.value(&name);
        if stored.as_deref() == Some(sql.as_bytes()) {
            return false;
        }
        commit.put(name, sql);
        stored.is_some()
    }

    /// Forgets the snapshot of a partition and moves its cursor back to the oldest row that is still held. What was
    /// emitted stays, and how far that was: windows after it are computed anew. Returns the offset of that row.
    pub(crate) fn start_anew(&self, log: &Log, stream: &Stream, partition: u32, commit: &mut Commit) -> u64 {
        commit.delete(self.name(&format!("snapshot/{partition}")));
        let start = log.range(stream.id(), partition).map_or(0, |range| range.start);
        commit.move_cursor(&self.cursor(), stream.id(), partition, start);
        start
    }

    pub(crate) fn progress(&self, log: &Log) -> Result<Option<Progress>> {
        let name = self.name("progress");
        let Some(value) = log.value(&name) else { return Ok(None) };
        let progress = serde_json::from_slice(&value).map_err(|e| Error::State {
            name,
            expected: "a query's progress".into(),
            found: e.to_string(),
        })?;
        Ok(Some(progress))
    }

    pub(crate) fn store_progress(&self, progress: &Progress, commit: &mut Commit) {
        commit.put(self.name("progress"), serde_json::to_vec(progress).expect("numbers always serialise"));
    }

    /// Name of the partition's snapshot file.
    pub(crate) fn snapshot(&self, log: &Log, partition: u32) -> Option<String> {
        log.value(&self.name(&format!("snapshot/{partition}"))).map(|v| String::from_utf8_lossy(&v).into_owned())
    }

    /// Names of the files that hold the partition's state together, oldest first.
    pub(crate) fn snapshot_files(&self, log: &Log, partition: u32) -> Vec<String> {
        self.snapshot(log, partition).map(|names| names.lines().map(str::to_owned).collect()).unwrap_or_default()
    }

    pub(crate) fn store_snapshot_files<'a>(
        &self,
        partition: u32,
        files: impl Iterator<Item = &'a str>,
        commit: &mut Commit,
    ) {
        self.store_snapshot(partition, &files.collect::<Vec<_>>().join("\n"), commit);
    }

    pub(crate) fn store_snapshot(&self, partition: u32, file: &str, commit: &mut Commit) {
        commit.put(self.name(&format!("snapshot/{partition}")), file);
    }

    fn absence_prefix(&self) -> String {
        self.name("absence/")
    }

    /// What a query that watches for silence has decided since its snapshot.
    pub(crate) fn absences(&self, log: &Log, columns: &SchemaRef) -> Result<Vec<Absent>> {
        let decode = |(name, value): (String, Vec<u8>)| {
            Absent::decode(&value, columns).map_err(|(expected, found)| Error::State { name, expected, found })
        };
        log.values(&self.absence_prefix()).into_iter().map(decode).collect()
    }

    pub(crate) fn store_absence(&self, decision: &Absent, commit: &mut Commit) -> Result<()> {
        commit.put(format!("{}{:020}", self.absence_prefix(), decision.number), decision.encode()?);
        Ok(())
    }

    /// Forgets what is stored of decisions before this one: a snapshot contains it.
    pub(crate) fn forget_absences(&self, log: &Log, before: u64, commit: &mut Commit) {
        let end = format!("{}{before:020}", self.absence_prefix());
        for (name, _) in log.values(&self.absence_prefix()).into_iter().filter(|(name, _)| *name < end) {
            commit.delete(name);
        }
    }

    fn decision_prefix(&self, partition: u32) -> String {
        self.name(&format!("decision/{partition}/"))
    }

    /// The partition's decisions, by offset.
    pub(crate) fn decisions(&self, log: &Log, partition: u32) -> Result<Vec<Decision>> {
        let prefix = self.decision_prefix(partition);
        log.values(&prefix)
            .into_iter()
            .map(|(name, value)| {
                let offset = name[prefix.len()..].parse().ok();
                let watermark_us = std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok());
                match (offset, watermark_us) {
                    (Some(offset), Some(watermark_us)) => Ok(Decision { offset, watermark_us }),
                    _ => Err(Error::State {
                        expected: "an offset and a watermark".into(),
                        found: String::from_utf8_lossy(&value).into_owned(),
                        name,
                    }),
                }
            })
            .collect()
    }

    pub(crate) fn store_decision(&self, partition: u32, decision: Decision, commit: &mut Commit) {
        let name = format!("{}{:020}", self.decision_prefix(partition), decision.offset);
        commit.put(name, decision.watermark_us.to_string());
    }

    /// Forgets the decisions that a snapshot at `offset` contains.
    pub(crate) fn forget_decisions(&self, log: &Log, partition: u32, offset: u64, commit: &mut Commit) -> Result<()> {
        let prefix = self.decision_prefix(partition);
        for decision in self.decisions(log, partition)? {
            if decision.offset < offset {
                commit.delete(format!("{prefix}{:020}", decision.offset));
            }
        }
        Ok(())
    }

    fn finish_prefix(&self, partition: u32) -> String {
        self.name(&format!("finish/{partition}/"))
    }

    /// The offsets before which all keys of the partition were finished, ascending.
    pub(crate) fn finishes(&self, log: &Log, partition: u32) -> Result<Vec<u64>> {
        let prefix = self.finish_prefix(partition);
        let names = log.values(&prefix).into_iter();
        let offset = |(name, _): (String, _)| match name[prefix.len()..].parse() {
            Ok(offset) => Ok(offset),
            Err(_) => Err(Error::State { expected: "an offset".into(), found: name[prefix.len()..].to_owned(), name }),
        };
        names.map(offset).collect()
    }

    pub(crate) fn store_finish(&self, partition: u32, offset: u64, commit: &mut Commit) {
        commit.put(format!("{}{offset:020}", self.finish_prefix(partition)), "");
    }

    /// Forgets the finishes that a snapshot at `offset` contains.
    pub(crate) fn forget_finishes(&self, log: &Log, partition: u32, offset: u64, commit: &mut Commit) -> Result<()> {
        for finish in self.finishes(log, partition)?.into_iter().filter(|finish| *finish < offset) {
            commit.delete(format!("{}{finish:020}", self.finish_prefix(partition)));
        }
        Ok(())
    }
}
