//! How rows of a query are written: NDJSON, CSV, a JSON array or an Arrow IPC stream. Timestamps are RFC 3339 with `Z`, with
//! a fraction only where there is one.

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer, WriterBuilder};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;

use super::answer::ApiError;
use super::query::QueryError;

/// A format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResultFormat {
    Ndjson,
    Csv,
    Json,
    ArrowStream,
}

const FORMATS: [ResultFormat; 4] =
    [ResultFormat::Ndjson, ResultFormat::Json, ResultFormat::Csv, ResultFormat::ArrowStream];

impl ResultFormat {
    /// The format that the `Accept` header asks for: the highest quality, the first of equals; NDJSON by default.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(accept) = headers.get(header::ACCEPT) else { return Ok(Self::Ndjson) };
        let accept = accept.to_str().unwrap_or_default();
        let mut best: Option<(f32, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let Some(format) = parts.next().and_then(Self::matching) else { continue };
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if quality > 0.0 && best.is_none_or(|(best, _)| quality > best) {
                best = Some((quality, format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| {
            let offered = FORMATS.map(Self::content_type).join(", ");
            ApiError::new(StatusCode::NOT_ACCEPTABLE, format!("expected one of {offered}, found {accept:?}"))
        })
    }

    fn matching(range: &str) -> Option<Self> {
        match range.to_ascii_lowercase().as_str() {
            "*/*" | "application/*" => Some(Self::Ndjson),
            "text/*" => Some(Self::Csv),
            range => FORMATS.into_iter().find(|format| format.content_type() == range),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes the batches of one result, each to the bytes that are sent next.
pub(crate) enum ResultEncoder {
    Ndjson(Writer<Vec<u8>, LineDelimited>),
    Json(Writer<Vec<u8>, JsonArray>),
    Csv { schema: SchemaRef, has_header: bool },
    ArrowStream(Box<StreamWriter<Vec<u8>>>),
}

impl ResultEncoder {
    pub(crate) fn new(format: ResultFormat, schema: &SchemaRef) -> Result<Self, QueryError> {
        let builder = WriterBuilder::new().with_explicit_nulls(true);
        Ok(match format {
            ResultFormat::Ndjson => Self::Ndjson(builder.build(Vec::new())),
            ResultFormat::Json => Self::Json(builder.build(Vec::new())),
            ResultFormat::Csv => Self::Csv { schema: SchemaRef::clone(schema), has_header: false },
            ResultFormat::ArrowStream => {
                Self::ArrowStream(Box::new(StreamWriter::try_new(Vec::new(), schema).map_err(internal)?))
            }
        })
    }

    /// The bytes of a batch.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes, QueryError> {
        match self {
            Self::Ndjson(writer) => writer.write(batch).map(|()| take(writer.get_mut())),
            Self::Json(writer) => writer.write(batch).map(|()| take(writer.get_mut())),
            Self::ArrowStream(writer) => writer.write(batch).map(|()| take(writer.get_mut())),
            Self::Csv { has_header, .. } => {
                let bytes = write_csv(batch, !*has_header);
                *has_header = true;
                bytes
            }
        }
        .map_err(internal)
    }

    /// What comes after the last batch.
    pub(crate) fn finish(&mut self) -> Result<Bytes, QueryError> {
        match self {
            Self::Ndjson(writer) => writer.finish().map(|()| take(writer.get_mut())),
            Self::Json(writer) => writer.finish().map(|()| take(writer.get_mut())),
            Self::ArrowStream(writer) => writer.finish().map(|()| take(writer.get_mut())),
            Self::Csv { schema, has_header: false } => {
                write_csv(&RecordBatch::new_empty(SchemaRef::clone(schema)), true)
            }
            Self::Csv { .. } => Ok(Bytes::new()),
        }
        .map_err(internal)
    }

    /// How the format says that the rows end in the middle; nothing where it has no way to.
    pub(crate) fn error(&self, error: &QueryError) -> Bytes {
        match self {
            Self::Ndjson(_) => {
                let line = serde_json::json!({ "error": { "message": error.message } });
                format!("{line}\n").into()
            }
            _ => Bytes::new(),
        }
    }
}

fn write_csv(batch: &RecordBatch, header: bool) -> Result<Bytes, ArrowError> {
    let mut bytes = Vec::new();
    csv::WriterBuilder::new().with_header(header).build(&mut bytes).write(batch)?;
    Ok(bytes.into())
}

fn take(written: &mut Vec<u8>) -> Bytes {
    std::mem::take(written).into()
}

fn internal(error: ArrowError) -> QueryError {
    QueryError { message: format!("the result cannot be written: {error}"), user: false }
}
