//! A run that crashes at the writes and syncs of its disk and goes on: what comes of it is what comes of an undisturbed one.
//!
//! Every commit is a write and a sync of the journal, so that there is a crash before, in and after each of them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use thermocline_log::{HookedDisk, Log, OsDisk};

use super::crash_disk::CrashDisk;
use super::readings::{Reading, batch};
use super::{Pipeline, read};

/// Every how many operations there is a crash: `THERMOCLINE_CRASH_EVERY`, or so many.
pub fn every(default: u64) -> u64 {
    std::env::var("THERMOCLINE_CRASH_EVERY").map_or(default, |every| every.parse().unwrap())
}

/// A run: a pipeline, and what comes in, piece by piece.
pub struct Run<'a> {
    sql: &'a str,
    checkpoint_rows: u64,
    pieces: Vec<(&'static str, &'a [Reading])>,
}

impl<'a> Run<'a> {
    /// A piece of one stream, then one of the next, and so on as long as there are any.
    pub fn new(sql: &'a str, checkpoint_rows: u64, streams: &[(&'static str, Vec<&'a [Reading]>)]) -> Self {
        let rounds = (0..).take_while(|n| streams.iter().any(|(_, pieces)| *n < pieces.len()));
        let round = |n: usize| streams.iter().filter_map(move |(name, pieces)| Some((*name, *pieces.get(n)?)));
        Self { sql, checkpoint_rows, pieces: rounds.flat_map(round).collect() }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.sql).checkpoint_rows(self.checkpoint_rows)
    }

    /// Appends what is not in the log yet, as a client that repeats what was not acknowledged; then ends all queries. `Err`
    /// when the disk died.
    async fn go(&self, pipeline: &mut Pipeline) -> Result<(), String> {
        pipeline.try_start().await.map_err(|error| error.to_string())?;
        let mut given: HashMap<&str, u64> = HashMap::new();
        for (stream, piece) in &self.pieces {
            let given = given.entry(stream).or_default();
            *given += piece.len() as u64;
            if pipeline.rows_in(stream).await < *given {
                pipeline.append_batch(stream, batch(piece)).await.map_err(|error| error.to_string())?;
                pipeline.try_settle().await?;
            }
        }
        pipeline.finish_queries().await.map_err(|error| error.to_string())
    }

    /// Crashes at operation `first` of the disk, in another run at the one that is `every` later, and so on to the end. What
    /// `outcome` finds in the log is the same each time; how many crashes there were.
    pub async fn crash_everywhere<T: PartialEq + Debug>(
        &self,
        first: u64,
        every: u64,
        place: &str,
        outcome: &dyn Fn(&Log) -> T,
    ) -> u64 {
        let found = async |mut pipeline: Pipeline| {
            let log = pipeline.start().await.log.clone();
            let found = outcome(&log);
            pipeline.crash().await;
            found
        };
        let mut undisturbed = self.pipeline();
        self.go(&mut undisturbed).await.unwrap();
        let expected = found(undisturbed).await;
        for crashes in 0.. {
            let operation = first + crashes * every;
            let mut pipeline = self.pipeline();
            let disk = Arc::new(CrashDisk::after_operations(operation));
            pipeline.set_disk(HookedDisk::new(&disk));
            let ended = self.go(&mut pipeline).await;
            assert_eq!(ended.is_err(), disk.is_dead(), "{ended:?}, {place}");
            if ended.is_ok() {
                return crashes;
            }
            pipeline.crash().await;
            pipeline.set_disk(Arc::new(OsDisk));
            self.go(&mut pipeline).await.unwrap();
            assert_eq!(found(pipeline).await, expected, "crash at operation {operation}, {place}");
        }
        unreachable!("the operations of a run have an end")
    }
}

/// Rows as text, to the bit of a float.
pub fn exact(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let of_batch = |batch: &RecordBatch| {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(", ");
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// The rows of `out0`, `out1` and so on, as they are; and late rows, of which each query writes its own when it comes to them.
pub fn outputs(log: &Log, queries: usize, late: &[&str]) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let rows = |name: &str| exact(&read(log, &log.stream(name).unwrap()));
    let sorted = |name: &&str| {
        let mut rows = rows(name);
        rows.sort();
        rows
    };
    ((0..queries).map(|n| rows(&format!("out{n}"))).collect(), late.iter().map(sorted).collect())
}
