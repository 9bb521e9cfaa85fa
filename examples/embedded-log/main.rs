//! The log inside of a program: append readings, read on from where the last run stopped.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use thermocline_log::{Commit, Log, LogOptions, StreamSpec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "thermocline-data/embedded-log".to_owned());
    let celsius: ArrayRef = Arc::new(Float64Array::from(vec![20.5, 21.0, 21.5]));
    let readings = RecordBatch::try_from_iter([("celsius", celsius)])?;

    let log = Log::open(dir, LogOptions::default())?;
    let stream = log.create_stream(StreamSpec::new("readings", readings.schema())).await?;
    let mut commit = Commit::new();
    commit.append(stream.id(), readings);
    log.commit(commit).await?; // durable from here on

    let from = log.cursor("report", stream.id(), 0).unwrap_or(0);
    let mut reader = log.reader(stream.id(), 0, from, None)?;
    while let Some(rows) = reader.next(1024)? {
        println!("rows {}..{}: {:?}", rows.start_offset, rows.end_offset(), rows.batch.column(0));
        let mut commit = Commit::new();
        commit.move_cursor("report", stream.id(), 0, rows.end_offset());
        log.commit(commit).await?; // the next run goes on behind these rows
    }
    log.close().await?;
    Ok(())
}
