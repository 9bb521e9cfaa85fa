//! `GET /v1/streams`: the streams that rows can be sent to, their columns and offsets.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::answer::ApiError;
use super::state::HttpState;
use crate::decode::sql_type;
use crate::error::Error;
use crate::input::OpenStream;

#[derive(Debug, Serialize)]
pub(crate) struct Streams {
    streams: Vec<StreamInfo>,
}

#[derive(Debug, Serialize)]
struct StreamInfo {
    name: String,
    columns: Vec<ColumnInfo>,
    event_time: Option<String>,
    partitions: Vec<PartitionInfo>,
}

#[derive(Debug, Serialize)]
struct ColumnInfo {
    name: String,
    r#type: String,
    nullable: bool,
}

/// Offsets that can be read: `start` up to, not including, `end`.
#[derive(Debug, Serialize)]
struct PartitionInfo {
    partition: u32,
    start: u64,
    end: u64,
}

pub(crate) async fn list(State(state): State<HttpState>) -> Result<Json<Streams>, ApiError> {
    let streams = state.streams.all().iter().map(|open| describe(&state, open)).collect::<Result<_, _>>()?;
    Ok(Json(Streams { streams }))
}

fn describe(state: &HttpState, open: &OpenStream) -> Result<StreamInfo, Error> {
    let stream = &open.input.stream;
    let column = |field: &arrow::datatypes::FieldRef| ColumnInfo {
        name: field.name().clone(),
        r#type: sql_type(field.data_type()),
        nullable: field.is_nullable(),
    };
    let partition = |partition| {
        let offsets = state.log.range(stream.id(), partition)?;
        Ok(PartitionInfo { partition, start: offsets.start, end: offsets.end })
    };
    Ok(StreamInfo {
        name: stream.name().to_owned(),
        columns: stream.schema().fields().iter().map(column).collect(),
        event_time: open.input.event_time_column.map(|column| stream.schema().field(column).name().clone()),
        partitions: (0..stream.partitions()).map(partition).collect::<Result<_, Error>>()?,
    })
}
