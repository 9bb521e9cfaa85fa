//! The sink: one gzipped request a write. When the server takes only part of it, the bad lines are found (from what the
//! server says, else by halving) and only these rows are rejected; sending good lines again changes nothing.

use std::io::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode};
use url::Url;

use super::line::{Encoding, Precision};
use super::reason;
use crate::connector::OpenContext;
use crate::error::{Error, Result};
use crate::http::{self, Reply};
use crate::options::OptionValues;
use crate::settings::Secret;
use crate::sink::{Delivery, Limits, Outcome, Rejected, Sink};

/// Windows close for many keys at once: their rows go out together.
const LINGER: Duration = Duration::from_millis(200);

/// Writes points to InfluxDB.
pub(super) struct InfluxSink {
    server: Server,
    encoding: Encoding,
    max_rows: usize,
}

/// The server and how it is spoken to.
struct Server {
    client: Client,
    write_url: Url,
    destination: String,
    version: Version,
}

enum Version {
    V1 { query_url: Url, database: String, user: Option<(String, Secret)>, create_database: bool },
    V2 { token: Option<Secret> },
}

/// A line with the row that it came from.
struct Line {
    delivery: usize,
    row: usize,
    text: String,
}

/// What a server made of a request.
enum Answer {
    Taken,
    TooLarge(String),
    /// Some lines, perhaps all, were not taken.
    BadLines(String),
}

impl InfluxSink {
    pub(super) fn open(context: OpenContext) -> Result<Self> {
        let OpenContext { options, schema, .. } = context;
        let encoding = Encoding::of(&options, &schema)?;
        Ok(Self {
            server: Server::of(&options, encoding.precision())?,
            encoding,
            max_rows: usize::try_from(options.count("max_rows")).unwrap_or(usize::MAX),
        })
    }
}

impl Server {
    fn of(options: &OptionValues, precision: Precision) -> Result<Self> {
        let missing = || Error::Option { option: "url".into(), expected: "an address".into(), found: "nothing".into() };
        let base = options.url("url").ok_or_else(missing)?;
        let endpoint = |path: &str| {
            let mut url = base.clone();
            url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
            url
        };
        let (write_url, version) = match options.text("database") {
            Some(database) => {
                let mut url = endpoint("/write");
                url.query_pairs_mut().append_pair("db", database).append_pair("precision", precision.v1());
                if let Some(policy) = options.text("retention_policy") {
                    url.query_pairs_mut().append_pair("rp", policy);
                }
                let password = options.secret("password").unwrap_or_else(|| Secret::new(""));
                let version = Version::V1 {
                    query_url: endpoint("/query"),
                    database: database.to_owned(),
                    user: options.text("username").map(|user| (user.to_owned(), password)),
                    create_database: options.boolean("create_database"),
                };
                (url, version)
            }
            None => {
                let mut url = endpoint("/api/v2/write");
                url.query_pairs_mut()
                    .append_pair("org", options.text("org").unwrap_or_default())
                    .append_pair("bucket", options.text("bucket").unwrap_or_default())
                    .append_pair("precision", precision.v2());
                (url, Version::V2 { token: options.secret("token") })
            }
        };
        let client = http::client(options.duration("timeout"), None)?;
        Ok(Self { client, destination: http::printable(&write_url), write_url, version })
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.version {
            Version::V1 { user: Some((user, password)), .. } => request.basic_auth(user, Some(password.expose())),
            Version::V2 { token: Some(token) } => request.header(AUTHORIZATION, format!("Token {}", token.expose())),
            _ => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply> {
        http::send(self.authorised(request)).await.map_err(|no_reply| no_reply.unavailable(&self.destination))
    }

    /// Sends lines, creating the database first where it is missing and that is wanted.
    async fn post(&self, lines: &[Line]) -> Result<Answer> {
        let body = gzip(lines);
        for may_create in [true, false] {
            let request = self
                .client
                .post(self.write_url.clone())
                .header(CONTENT_TYPE, "text/plain; charset=utf-8")
                .header(CONTENT_ENCODING, "gzip")
                .body(body.clone());
            let reply = self.send(request).await?;
            let message = reason::message(&reply.body);
            return match reply.status {
                status if status.is_success() => Ok(Answer::Taken),
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::BadLines(message)),
                StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer::TooLarge(message)),
                StatusCode::NOT_FOUND if may_create && self.create_database(&message).await? => continue,
                _ if reply.is_transient() => Err(reply.unavailable(&self.destination)),
                _ => Err(reply.refused(&self.destination)),
            };
        }
        Err(Error::Refused {
            destination: self.destination.clone(),
            reason: "the database is missing although it was created".into(),
        })
    }

    /// Whether the database was missing and was created.
    async fn create_database(&self, message: &str) -> Result<bool> {
        let Version::V1 { query_url, database, create_database: true, .. } = &self.version else { return Ok(false) };
        if !message.contains("database not found") {
            return Ok(false);
        }
        let statement = format!("CREATE DATABASE \"{}\"", database.replace('\\', "\\\\").replace('"', "\\\""));
        let mut url = query_url.clone();
        url.query_pairs_mut().append_pair("q", &statement);
        let reply = self.send(self.client.post(url)).await?;
        if !reply.status.is_success() || reply.body.contains("\"error\"") {
            return Err(reply.refused(&self.destination));
        }
        tracing::info!(destination = self.destination, database, "influxdb database created");
        Ok(true)
    }
}

#[async_trait]
impl Sink for InfluxSink {
    fn limits(&self) -> Limits {
        Limits { max_rows: self.max_rows, linger: LINGER }
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let mut rejected = Vec::new();
        let mut lines = Vec::new();
        for (delivery, rows) in deliveries.iter().enumerate() {
            for (row, line) in self.encoding.lines(&rows.rows, &rows.feed.name)?.into_iter().enumerate() {
                match line {
                    Ok(text) => lines.push(Line { delivery, row, text }),
                    Err(reason) => rejected.push(Rejected { delivery, row, reason }),
                }
            }
        }
        let reject =
            |line: Line, reason: &str| Rejected { delivery: line.delivery, row: line.row, reason: reason.to_owned() };
        let mut open = vec![lines];
        while let Some(mut lines) = open.pop() {
            if lines.is_empty() {
                continue;
            }
            let (message, is_bad) = match self.server.post(&lines).await? {
                Answer::Taken => continue,
                Answer::TooLarge(message) => (message, false),
                Answer::BadLines(message) => (message, true),
            };
            if lines.len() == 1 || (is_bad && reason::dropped(&message) == Some(lines.len())) {
                rejected.extend(lines.into_iter().map(|line| reject(line, &message)));
                continue;
            }
            let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            let named = if is_bad { reason::quoted_lines(&message, &texts) } else { Vec::new() };
            if named.is_empty() {
                open.push(lines.split_off(lines.len() / 2));
            } else {
                for &index in named.iter().rev() {
                    rejected.push(reject(lines.remove(index), &message));
                }
            }
            open.push(lines);
        }
        rejected.sort_by_key(|rejected| (rejected.delivery, rejected.row));
        Ok(Outcome { rejected })
    }
}

fn gzip(lines: &[Line]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for line in lines {
        // Writing to a vector cannot fail.
        let _ = encoder.write_all(line.text.as_bytes());
        let _ = encoder.write_all(b"\n");
    }
    encoder.finish().unwrap_or_default()
}
