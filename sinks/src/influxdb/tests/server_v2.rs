//! A local server that checks what InfluxDB 2 wants of a write: path, parameters, token, gzip, and lines whose tags are
//! sorted. Like the real one it overwrites a point of the same series and time.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::server_v1::storable;
use crate::alert::rfc3339;
use crate::conformance::{Gate, Harness, sensor_rows, sensor_schema};
use crate::connector::Guarantee;
use crate::sink::Sink;

const TOKEN: &str = "Token right";

/// Fields by (series, time).
type Points = Arc<Mutex<BTreeMap<(String, String), String>>>;

async fn write(
    State(points): State<Points>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fail = |status: StatusCode, message: &str| {
        (status, json!({"code": "invalid", "message": message}).to_string()).into_response()
    };
    if header("authorization") != TOKEN {
        return fail(StatusCode::UNAUTHORIZED, "unauthorized access");
    }
    let parameter = |name: &str| parameters.get(name).map(String::as_str);
    if (parameter("org"), parameter("bucket"), parameter("precision")) != (Some("o"), Some("b"), Some("us")) {
        return fail(StatusCode::NOT_FOUND, "bucket not found");
    }
    let mut text = String::new();
    if header("content-encoding") != "gzip" || GzDecoder::new(&body[..]).read_to_string(&mut text).is_err() {
        return fail(StatusCode::BAD_REQUEST, "expected gzip");
    }
    let lines: Vec<Option<(String, String, String)>> = lines_of(&text).iter().map(|line| parse(line)).collect();
    // Version 2 takes all or nothing of a request that it cannot parse, and does not say which line.
    if lines.iter().any(Option::is_none) {
        return fail(StatusCode::BAD_REQUEST, "some line is malformed");
    }
    points.lock().extend(lines.into_iter().flatten().map(|(series, fields, time)| ((series, time), fields)));
    StatusCode::NO_CONTENT.into_response()
}

/// Lines; a line break within a quoted field is part of it.
fn lines_of(text: &str) -> Vec<String> {
    let (mut lines, mut line, mut is_quoted, mut is_escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        if c == '\n' && !is_quoted {
            lines.push(std::mem::take(&mut line));
            continue;
        }
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        line.push(c);
    }
    lines
}

/// Series, fields and time; the poison's tag is what this server cannot take.
fn parse(line: &str) -> Option<(String, String, String)> {
    let (rest, time) = line.rsplit_once(' ')?;
    time.parse::<i64>().ok()?;
    let (series, fields) = rest.split_once(' ')?;
    (series.starts_with("readings,device_id=press-") && !fields.is_empty())
        .then(|| (series.to_owned(), fields.to_owned(), time.to_owned()))
}

/// The server and the gate before it.
pub(super) struct V2 {
    points: Points,
    pub(super) gate: Gate,
}

impl V2 {
    pub(super) async fn start() -> Self {
        let points = Points::default();
        let app = Router::new().route("/base/api/v2/write", post(write)).with_state(Arc::clone(&points));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { points, gate: Gate::before(address).await.unwrap() }
    }
}

#[async_trait]
impl Harness for V2 {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn open(&self) -> Box<dyn Sink> {
        let url = format!("{}/base/", self.gate.url());
        let options = [("url", url.as_str()), ("org", "o"), ("bucket", "b"), ("token", "right"), ("tags", "device_id")];
        super::open(&options, sensor_schema())
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        sensor_rows(ids)
    }

    async fn stored(&self) -> Vec<Value> {
        let points = self.points.lock();
        points.iter().map(|((series, time), fields)| row(series, time, fields)).collect()
    }

    fn expected(&self, row: Value) -> Option<Value> {
        storable(row)
    }

    fn poison(&self) -> Option<RecordBatch> {
        let rows = sensor_rows(9000..9001);
        let mut columns = rows.columns().to_vec();
        columns[0] = Arc::new(arrow::array::StringArray::from(vec!["unheard of"]));
        Some(RecordBatch::try_new(rows.schema(), columns).unwrap())
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}

/// The row of a point of `readings`.
fn row(series: &str, time: &str, fields: &str) -> Value {
    let mut row = json!({
        "device_id": series.strip_prefix("readings,device_id="),
        "ts": rfc3339(time.parse().unwrap()),
    });
    let (fields, note) = match fields.split_once("note=\"") {
        Some((fields, note)) => (fields, note.strip_suffix('"')),
        None => (fields, None),
    };
    row["note"] = note.map(|note| note.replace("\\\"", "\"").replace("\\\\", "\\")).into();
    for field in fields.split(',').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap();
        row[name] = match value.strip_suffix('i') {
            Some(integer) => json!(integer.parse::<i64>().unwrap()),
            None => json!(value.parse::<f64>().unwrap()),
        };
    }
    row
}
