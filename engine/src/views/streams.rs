//! The streams of the log that hold the rows of views, and what is stored about them: `view/<name>` has the columns of the key, so
//! that a data directory can be asked without its pipeline.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thermocline_log::{Commit, Log, Retention, Stream, StreamSpec};
use thermocline_sql::{EventTime, MaterializedDef, ViewTime};
use tokio::sync::watch;

use super::current::CurrentRows;
use super::outlet::{Inlet, Reached, Told};
use crate::error::Result;
use crate::late::{late_schema, late_stream_name};
use crate::stored_schema::stored_schema;

const PREFIX: &str = "view/";

/// A view of a running pipeline.
#[derive(Debug)]
pub(crate) struct View {
    /// Its rows.
    pub(crate) stream: Stream,
    /// Those that came late for a query over it.
    pub(crate) late: Stream,
    /// The current ones of a view that was declared and has a key.
    pub(crate) current: Option<Arc<CurrentRows>>,
    /// How far its writer is.
    pub(crate) told: Told,
    times: Vec<ViewTime>,
}

impl View {
    /// The event time of a query that goes by this column.
    pub(crate) fn event_time(&self, column: usize) -> EventTime {
        let delay_us = self.time(column).map_or(0, |time| time.disorder_us);
        EventTime { column, delay_us, max_skew_us: None, idle_timeout: None, key: Vec::new() }
    }

    /// What such a query is told.
    pub(crate) fn inlet(&self, column: usize) -> Option<Inlet> {
        self.time(column).map(|time| Inlet::new(&self.told, time.ahead_us))
    }

    fn time(&self, column: usize) -> Option<ViewTime> {
        self.times.iter().find(|time| time.column == column).copied()
    }
}

/// A view as it can be queried: its name, its stream, its current rows where it has a key.
pub(crate) type StoredView = (String, Stream, Option<Arc<CurrentRows>>);

/// What is stored about a view.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    key: Vec<String>,
}

/// Creates what a view needs in the log.
pub(crate) async fn create_view(log: &Log, definition: &MaterializedDef) -> Result<View> {
    let schema = stored_schema(log, &definition.stream, &definition.schema);
    let retention = Retention { max_age: definition.retention, max_bytes: None };
    let spec = StreamSpec { retention, ..StreamSpec::new(&definition.stream, schema) };
    let stream = log.create_stream(spec).await?;
    let late = StreamSpec::new(late_stream_name(&definition.name), late_schema(stream.schema()));
    let late = log.create_stream(StreamSpec { retention, ..late }).await?;
    let mut current = None;
    if definition.is_declared {
        let names = definition.key.iter().map(|column| definition.schema.field(*column).name().clone());
        let stored = Stored { key: names.collect() };
        let (name, value) =
            (format!("{PREFIX}{}", definition.name), serde_json::to_vec(&stored).expect("text always serialises"));
        if log.value(&name).as_deref() != Some(&value) {
            let mut commit = Commit::new();
            commit.put(name, value);
            log.commit(commit).await?;
        }
        if !definition.key.is_empty() {
            current = Some(Arc::new(CurrentRows::new(&definition.name, log, &stream, &stored.key)?));
        }
    }
    let told = Arc::new(watch::Sender::new(Reached::NOTHING));
    Ok(View { stream, late, current, told, times: definition.times.clone() })
}

/// The views that a log holds, without those whose name a stream has now.
pub(crate) fn stored_views(log: &Log) -> Result<Vec<StoredView>> {
    let mut views = Vec::new();
    for (name, value) in log.values(PREFIX) {
        let name = &name[PREFIX.len()..];
        if log.stream(name).is_some() {
            continue;
        }
        let (Some(stream), Ok(stored)) =
            (log.stream(&format!("view.{name}")), serde_json::from_slice::<Stored>(&value))
        else {
            continue;
        };
        let current = match stored.key.as_slice() {
            [] => None,
            key => Some(Arc::new(CurrentRows::new(name, log, &stream, key)?)),
        };
        views.push((name.to_owned(), stream, current));
    }
    Ok(views)
}
