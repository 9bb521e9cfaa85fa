//! The process under test: started on a free port, killed with the test.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wait::{eventually, within};

const BINARY: &str = env!("CARGO_BIN_EXE_thermocline");

/// The command with nothing of the surroundings that could change what it does.
pub fn command() -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// JSON objects, one a line.
pub fn json_lines(text: &str) -> Vec<Value> {
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("expected JSON: {error}: {line}"));
    text.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// A `thermocline run` that can be started again and again over the same data directory.
#[derive(Debug, Clone)]
pub struct Run {
    pub pipeline: PathBuf,
    pub data_dir: PathBuf,
    pub env: Vec<(String, String)>,
}

impl Run {
    pub fn new(pipeline: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self { pipeline: pipeline.into(), data_dir: data_dir.into(), env: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = command();
        command.arg("run").arg(&self.pipeline).arg("--data-dir").arg(&self.data_dir).args(["--listen", "127.0.0.1:0"]);
        command.envs(self.env.iter().map(|(name, value)| (name, value))).stdout(Stdio::null());
        command
    }

    /// Starts it and waits until its doors are open.
    pub async fn start(&self) -> Running {
        let mut running = self.spawn(&[]);
        running.is_up().await;
        running
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        // A file that a killed process left behind must not be taken for the new one's.
        let _ = std::fs::remove_file(self.data_dir.join("address"));
        let mut child = self.command().args(arguments).spawn().unwrap();
        let stderr = Lines::read(child.stderr.take().unwrap());
        Running { child, stderr, data_dir: self.data_dir.clone(), address: String::new() }
    }

    /// Runs it to the end of its input, which must be a good one.
    pub async fn to_the_end(&self) -> Ended {
        let ended = self.spawn(&["--exit-when-done"]).ended().await;
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        ended
    }

    /// Asks the directory with `thermocline sql`, whether a server holds it or not.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        json_lines(&self.sql_text(query, "json").await)
    }

    /// The same as text of one of its formats.
    pub async fn sql_text(&self, query: &str, format: &str) -> String {
        let mut command = command();
        command.args(["sql", "--format", format, "--data-dir"]).arg(&self.data_dir).arg(query);
        let output = within(query, command.output()).await.unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A process that is under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pub stderr: Lines,
    data_dir: PathBuf,
    address: String,
}

/// What a process left when it ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Running {
    async fn is_up(&mut self) {
        let file = self.data_dir.join("address");
        let up = self.stderr.wait_for("the server to be up", |line| line.contains("thermocline is up"));
        tokio::select! {
            _ = up => {}
            status = self.child.wait() => panic!("ended with {} before it was up: {}", status.unwrap(), self.stderr.text()),
        }
        let address = || async { std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty()) };
        self.address = eventually("the address file", address).await;
    }

    /// An address of its HTTP door.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where its HTTP door listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Posts a body: the answer's status and JSON.
    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = reqwest::Client::new().post(self.url(path)).header("content-type", content_type).body(body);
        let answer = within(path, request.send()).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Gets a page: its status and text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = within(path, reqwest::get(self.url(path))).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The rows of a query, over HTTP.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        let request = reqwest::Client::new().post(self.url("/v1/sql")).body(query.to_owned());
        let answer = within(query, request.send()).await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{query}: {status} {text}");
        json_lines(&text)
    }

    /// The number in a query's only field.
    pub async fn count(&self, query: &str) -> i64 {
        let rows = self.sql(query).await;
        rows[0].as_object().unwrap().values().next().unwrap().as_i64().unwrap()
    }

    /// Waits until a query's number is at least this.
    pub async fn reaches(&self, query: &str, least: i64) {
        eventually(&format!("{query} to reach {least}"), || async { (self.count(query).await >= least).then_some(()) })
            .await;
    }

    /// kill -9: nothing is flushed, nothing is said.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        within("a killed process", self.child.wait()).await.unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("it has not ended")).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Its end by itself, with everything it said.
    pub async fn ended(mut self) -> Ended {
        let status = within("the process to end", self.child.wait()).await.unwrap();
        Ended { status, stderr: self.stderr.all().await }
    }
}

/// Lines that a process writes, as they come.
#[derive(Debug)]
pub struct Lines {
    lines: watch::Receiver<Vec<String>>,
    reader: JoinHandle<()>,
}

impl Lines {
    fn read(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            let mut from = BufReader::new(from).lines();
            while let Ok(Some(line)) = from.next_line().await {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        Self { lines, reader }
    }

    /// Waits for a line.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut lines = self.lines.clone();
        let found = lines.wait_for(|lines| lines.iter().any(|line| wanted(line)));
        let lines = match within(what, found).await {
            Ok(lines) => lines.clone(),
            Err(_) => panic!("the process ended before {what}: {}", self.text()),
        };
        lines.into_iter().find(|line| wanted(line)).unwrap()
    }

    /// What has come so far.
    pub fn text(&self) -> String {
        self.lines.borrow().join("\n")
    }

    async fn all(mut self) -> String {
        within("the output's end", &mut self.reader).await.unwrap();
        self.text()
    }
}

/// A free port of loopback; nobody else takes it within a test's moment.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
