//! `thermocline sql`: one query, over a data directory or through a running server.

use std::io::Write;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::pretty::pretty_format_batches;
use thermocline::Error;

use super::args::{Format, SqlArgs};
use super::{FAILURE, FINDINGS};

type Rows = (SchemaRef, Vec<RecordBatch>);

pub(crate) async fn sql(args: SqlArgs) -> u8 {
    let rows = match &args.url {
        Some(url) => ask(url, &args.query).await,
        None => query_dir(&args.data_dir, &args.query).await,
    };
    match rows.and_then(|rows| print(&rows, args.format)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}", explained(&error, &args.query));
            if error.exit_code() == FAILURE { FAILURE } else { FINDINGS }
        }
    }
}

fn explained(error: &Error, query: &str) -> String {
    match error {
        Error::Engine(error) => thermocline::explain(error, query),
        other => format!("error: {}", thermocline::with_causes(other)),
    }
}

async fn query_dir(dir: &Path, query: &str) -> Result<Rows, Error> {
    if !dir.exists() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such data directory");
        return Err(Error::Io { action: "open", path: dir.to_owned(), source });
    }
    match thermocline::query_data_dir(dir, query).await {
        Err(Error::Log(thermocline_log::Error::Locked { path })) => {
            let Some(address) = thermocline::server_address(dir) else {
                return Err(Error::Log(thermocline_log::Error::Locked { path }));
            };
            ask(&format!("http://{address}"), query).await
        }
        answered => answered,
    }
}

async fn ask(url: &str, query: &str) -> Result<Rows, Error> {
    let failed = |source| Error::Request { url: url.to_owned(), source };
    let request = reqwest::Client::new()
        .post(format!("{}/v1/sql", url.trim_end_matches('/')))
        .header("accept", "application/vnd.apache.arrow.stream")
        .body(query.to_owned());
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(failed)?;
    if !status.is_success() {
        let parsed: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let message = parsed.as_ref().and_then(|v| v["error"]["message"].as_str()).map(str::to_owned);
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        return Err(Error::Answer { message, user: status.is_client_error() });
    }
    let reader = StreamReader::try_new(&body[..], None).map_err(thermocline_engine::Error::from)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().map_err(thermocline_engine::Error::from)?;
    Ok((schema, batches))
}

fn print((schema, batches): &Rows, format: Format) -> Result<(), Error> {
    let mut out = Vec::new();
    let written = match format {
        Format::Table => table(schema, batches, &mut out),
        Format::Json => json(batches, &mut out),
        Format::Csv => csv(schema, batches, &mut out),
    };
    written.map_err(thermocline_engine::Error::from)?;
    match std::io::stdout().lock().write_all(&out) {
        // A reader that has seen enough (`| head`) is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Io { action: "write", path: "standard output".into(), source: error })
        }
        _ => Ok(()),
    }
}

fn table(schema: &SchemaRef, batches: &[RecordBatch], out: &mut Vec<u8>) -> Result<(), arrow::error::ArrowError> {
    let empty = [RecordBatch::new_empty(SchemaRef::clone(schema))];
    let batches = if batches.is_empty() { &empty } else { batches };
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let text = format!("{}\n({rows} rows)\n", pretty_format_batches(batches)?);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn json(batches: &[RecordBatch], out: &mut Vec<u8>) -> Result<(), arrow::error::ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()
}

fn csv(schema: &SchemaRef, batches: &[RecordBatch], out: &mut Vec<u8>) -> Result<(), arrow::error::ArrowError> {
    let mut writer = arrow::csv::Writer::new(out);
    writer.write(&RecordBatch::new_empty(SchemaRef::clone(schema)))?;
    batches.iter().try_for_each(|batch| writer.write(batch))
}
