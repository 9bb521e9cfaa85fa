//! Parquet files: a batch of rows per commit, the position is the number of rows read. A Parquet file is written once:
//! when its size changes it is another file.

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use tokio::sync::mpsc;

use super::config::FileConfig;
use super::identity::Identity;
use super::position::{OpenFile, Position};
use super::{Looked, in_file, io_error};
use crate::append::Append;
use crate::connector::committer::Committer;
use crate::decode::{BatchFitter, Decoded};
use crate::error::{Error, Result};
use crate::metrics;

/// What dictionaries of one batch may take when unpacked.
const MAX_BATCH_BYTES: u64 = 1 << 30;

/// Reads the rows of a Parquet file beyond its position.
pub(super) async fn read(config: &FileConfig, committer: &Committer, file: &mut OpenFile) -> Result<Looked> {
    let size = file.file.metadata().map_err(io_error("read", &file.path))?.len();
    if file.position.offset != 0 && file.position.offset != size {
        file.position = Position { offset: 0, lines: 0, identity: file.position.identity };
    }
    let path = file.path.clone();
    let failed = move |source: ParquetError| Error::Parquet { path: path.clone(), source };
    let handle = file.file.try_clone().map_err(io_error("open", &file.path))?;
    let builder = match ParquetRecordBatchReaderBuilder::try_new(handle) {
        Ok(builder) => builder,
        Err(error) if config.follow => {
            // Most likely it is still being written.
            tracing::debug!(file = %file.name, error = &error as &dyn std::error::Error, "not a whole Parquet file yet");
            return Ok(Looked::AtEnd);
        }
        Err(error) => return Err(failed(error)),
    };
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    if file.position.lines >= rows && (file.position.offset == size || rows == 0) {
        return Ok(Looked::AtEnd);
    }
    let done = usize::try_from(file.position.lines).unwrap_or(usize::MAX);
    let fitter = BatchFitter::new(&committer.open.shape, builder.schema(), "Parquet", MAX_BATCH_BYTES)
        .map_err(in_file(&file.path))?;
    let reader = builder.with_batch_size(config.batch_rows).with_offset(done).build().map_err(&failed)?;
    let identity = Identity::of(&file.file, size).map_err(io_error("read", &file.path))?;
    let now_us = committer.context.clock.now_us();
    let (sender, mut receiver) = mpsc::channel(2);
    let start = Decoded { lines: file.position.lines, ..Decoded::default() };
    let reading = tokio::task::spawn_blocking(move || send_batches(reader, &fitter, start, now_us, &sender));
    let mut looked = Looked::AtEnd;
    while let Some(decoded) = receiver.recv().await {
        let decoded: Decoded = decoded.map_err(in_file(&file.path))?;
        let position = Position { offset: size, lines: decoded.lines, identity };
        let append = Append::new(decoded, &committer.open, &file.name, &file.arrival(now_us))?;
        if committer.is_stopped() || !committer.commit(&append, &file.key, &position).await? {
            looked = Looked::Stopped;
            break;
        }
        file.position = position;
    }
    drop(receiver);
    reading.await?;
    metrics::bytes("file", size);
    Ok(looked)
}

fn send_batches(
    reader: impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>,
    fitter: &BatchFitter,
    mut next: Decoded,
    now_us: i64,
    sender: &mpsc::Sender<Result<Decoded>>,
) {
    for batch in reader {
        let fitted = batch.map_err(Error::Arrow).and_then(|batch| fitter.fit(&batch, now_us, &mut next));
        let lines = next.lines;
        let decoded = std::mem::take(&mut next);
        next.lines = lines;
        let failed = fitted.is_err();
        if sender.blocking_send(fitted.map(|()| decoded)).is_err() || failed {
            return;
        }
    }
}
