//! Backup while the server runs, restore elsewhere; and every command of the operations page.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Run, command, eventually, within};

const PIPELINE: &str = "CREATE STREAM readings (
    device_id   TEXT      NOT NULL,
    ts          TIMESTAMP NOT NULL,
    temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (max_skew = 'none');

CREATE STREAM minutes (ts TIMESTAMP NOT NULL, device_id TEXT NOT NULL, readings BIGINT NOT NULL, average DOUBLE);
INSERT INTO minutes
SELECT window_start, device_id, count(*), avg(temperature) FROM TUMBLE(readings, ts, INTERVAL '1 minute')
GROUP BY device_id, window_start, window_end;
";

const ALL_READINGS: &str = "SELECT * FROM readings ORDER BY ts, device_id";
const ALL_MINUTES: &str = "SELECT * FROM minutes ORDER BY ts, device_id";

/// Rows of a batch: so many seconds, each with two devices.
const BATCH_SECONDS: i64 = 100;

fn pipeline(dir: &Path, data: &str) -> Run {
    std::fs::write(dir.join("pipeline.sql"), PIPELINE).unwrap();
    Run::new(dir, dir.join(data))
}

/// The readings of batch `number`, as NDJSON.
fn batch(number: i64) -> String {
    let row = |second: i64, device: i64| {
        let ts = 1_767_225_600_000 + second * 1000;
        // Whole numbers: their sums are exact, in whatever order they are added.
        let temperature = (second * 7919 + device) % 1000;
        format!("{}\n", json!({"device_id": format!("dev-{device}"), "ts": ts, "temperature": temperature}))
    };
    let seconds = number * BATCH_SECONDS..(number + 1) * BATCH_SECONDS;
    seconds.flat_map(|second| [row(second, 0), row(second, 1)]).collect()
}

async fn thermocline(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = command();
    command.args(arguments).args(paths).stdout(Stdio::piped());
    within(arguments[0], command.output()).await.unwrap()
}

async fn succeeds(arguments: &[&str], paths: &[&Path]) -> String {
    let output = thermocline(arguments, paths).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Sends batches in order until the server is gone; tells how many were acknowledged.
async fn send(url: String, first: i64, acknowledged: watch::Sender<i64>) {
    let http = reqwest::Client::new();
    for number in first.. {
        let request = http.post(&url).header("content-type", "application/x-ndjson").body(batch(number));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => acknowledged.send_replace(number + 1),
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => break,
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_goes_on_elsewhere_after_kill_9_as_if_nothing_had_been() {
    let dir = tempfile::tempdir().unwrap();
    let run = pipeline(dir.path(), "data");
    let running = run.start().await;
    let (acknowledged, mut seen) = watch::channel(0);
    let sending = tokio::spawn(send(running.url("/v1/streams/readings"), 0, acknowledged));
    let mut backups = Vec::new();
    for round in 0..3 {
        let goal = *seen.borrow() + 6;
        within("acknowledged batches", seen.wait_for(|count| *count >= goal)).await.unwrap();
        let before = *seen.borrow();
        let copy = dir.path().join(format!("backups/{round}"));
        let told = succeeds(&["backup"], &[&dir.path().join("data"), &copy]).await;
        assert!(told.starts_with("backed up ") && told.contains(" bytes"), "{told}");
        backups.push((copy, before));
    }
    running.kill().await;
    within("the sender to see it", sending).await.unwrap();

    // After kill -9 the socket file is there and nobody answers on it.
    assert!(dir.path().join("data/control.sock").exists());
    let copy = dir.path().join("backups/offline");
    succeeds(&["backup"], &[&dir.path().join("data"), &copy]).await;
    backups.push((copy, *seen.borrow()));

    for (number, (copy, acknowledged)) in backups.iter().enumerate() {
        succeeds(&["log", "verify"], &[copy]).await;
        let data = format!("restored-{number}");
        succeeds(&["restore"], &[copy, &dir.path().join(&data)]).await;
        let restored = pipeline(dir.path(), &data);
        let running = restored.start().await;
        let held = running.count("SELECT count(*) FROM readings").await;
        let batches = held / (2 * BATCH_SECONDS);
        assert_eq!(held, batches * 2 * BATCH_SECONDS, "whole batches only");
        assert!(batches >= *acknowledged, "{batches} batches are held, {acknowledged} were acknowledged before");
        for next in batches..batches + 2 {
            let (status, answer) = running.post("/v1/streams/readings", "application/x-ndjson", batch(next)).await;
            assert_eq!(status, 200, "{answer}");
        }
        let seconds = (batches + 2) * BATCH_SECONDS;
        let minutes = (seconds - 3) / 60;
        running.reaches("SELECT count(*) FROM minutes", 2 * minutes).await;
        let found = running.sql(ALL_MINUTES).await;
        let readings = running.sql(ALL_READINGS).await;
        assert_eq!(readings.len() as i64, 2 * seconds);
        assert_eq!(found, averages(&readings, minutes), "each window once, and of all its rows");
        running.signal(Signal::TERM);
        assert_eq!(running.ended().await.code(), Some(0));
        assert!(!dir.path().join(&data).join("control.sock").exists());
    }
}

/// What the query should have emitted: each minute's count and average of each device.
fn averages(readings: &[Value], minutes: i64) -> Vec<Value> {
    let mut expected = Vec::new();
    for minute in 0..minutes {
        for device in 0..2 {
            let of_device = |row: &&Value| row["device_id"] == format!("dev-{device}");
            let rows = readings[(minute * 120) as usize..(minute * 120 + 120) as usize].iter().filter(of_device);
            let temperatures: Vec<f64> = rows.map(|row| row["temperature"].as_f64().unwrap()).collect();
            let average = temperatures.iter().sum::<f64>() / temperatures.len() as f64;
            let ts = chrono::DateTime::from_timestamp(1_767_225_600 + minute * 60, 0).unwrap().format("%FT%TZ");
            expected.push(json!({
                "ts": ts.to_string(),
                "device_id": format!("dev-{device}"),
                "readings": temperatures.len(),
                "average": average,
            }));
        }
    }
    expected
}

/// The pipeline in this process, with many checkpoints.
async fn server(dir: &Path, data: &str) -> thermocline::Server {
    std::fs::write(dir.join("pipeline.sql"), PIPELINE).unwrap();
    let (pipeline, findings) = thermocline::load(&dir.join("pipeline.sql"), &|_| None).await.unwrap();
    let settings = thermocline::ServerSettings {
        pipeline: pipeline.unwrap_or_else(|| panic!("{}", findings.render())),
        data_dir: dir.join(data),
        listen: "127.0.0.1:0".parse().unwrap(),
        log: thermocline_log::LogOptions::default(),
        metrics: None,
        checkpoint_rows: Some(3000),
        memory_limit_bytes: None,
    };
    thermocline::Server::start(settings, &|_| None).await.unwrap()
}

async fn post(server: &thermocline::Server, path: &str, body: String) -> String {
    let request = reqwest::Client::new().post(format!("http://{}{path}", server.address())).body(body);
    let answer = within(path, request.header("content-type", "application/x-ndjson").send()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.text().await.unwrap()
}

async fn ask(server: &thermocline::Server, query: &str) -> Vec<Value> {
    let text = post(server, "/v1/sql", query.to_owned()).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_on_from_the_snapshots_in_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let original = server(dir.path(), "data").await;
    let mut batches = 0;
    for copy in ["first", "second"] {
        for _ in 0..40 {
            post(&original, "/v1/streams/readings", batch(batches)).await;
            batches += 1;
        }
        let snapshots =
            || async { (std::fs::read_dir(dir.path().join("data/state")).unwrap().count() > 0).then_some(()) };
        eventually("the query stores snapshots", snapshots).await;
        thermocline::backup_data_dir(&dir.path().join("data"), &dir.path().join(copy), |_| {}).await.unwrap();
        let restored = format!("restored-{copy}");
        thermocline_log::restore(dir.path().join(copy), dir.path().join(&restored), |_| {}).unwrap();
        assert!(std::fs::read_dir(dir.path().join(&restored).join("state")).unwrap().count() > 0);
        let server = server(dir.path(), &restored).await;
        for next in batches..batches + 20 {
            post(&server, "/v1/streams/readings", batch(next)).await;
        }
        let minutes = ((batches + 20) * BATCH_SECONDS - 3) / 60;
        let all = || async {
            let found = ask(&server, ALL_MINUTES).await;
            (found.len() as i64 >= 2 * minutes).then_some(found)
        };
        let found = eventually("all windows", all).await;
        assert_eq!(found, averages(&ask(&server, ALL_READINGS).await, minutes));
        server.stop().await.unwrap();
    }
    original.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_serves_its_user_only_and_paths_of_any_length() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let deep = format!("{}/data", "d".repeat(150));
    std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
    // As a killed process leaves them.
    for stale in ["control.sock", "control.sock.new"] {
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(stale)).unwrap());
        std::fs::rename(dir.path().join(stale), dir.path().join(&deep).join(stale)).unwrap();
    }
    let running = pipeline(dir.path(), &deep).start().await;
    let data = dir.path().join(&deep);
    let mode = data.join("control.sock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let copy = dir.path().join("copy");
    succeeds(&["backup"], &[&data, &copy]).await;
    let again = thermocline(&["backup"], &[&data, &copy]).await;
    assert_eq!(again.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&again.stderr).contains("to be an empty directory"), "{again:?}");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0));
    succeeds(&["log", "verify"], &[&data]).await;
    succeeds(&["log", "inspect"], &[&copy]).await;

    std::fs::write(copy.join("LOG"), "not what it was").unwrap();
    let damaged = thermocline(&["restore"], &[&copy, &dir.path().join("restored")]).await;
    assert_eq!(damaged.status.code(), Some(1));
    let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
    assert!(said.contains(&copy.join("LOG").display().to_string()), "{said}");
}

/// The shell snippets of a page, one after the other.
fn shell_snippets(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// Runs every shell snippet of docs/operations.md, in order, where a server has `thermocline-data` open.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_operations_page_works() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let snippets = shell_snippets(&std::fs::read_to_string(page).unwrap());
    assert!(snippets.len() >= 4, "{} snippets found", snippets.len());
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path(), "thermocline-data").start().await;
    let (status, _) = running.post("/v1/streams/readings", "application/x-ndjson", batch(0)).await;
    assert_eq!(status, 200);
    let binary = Path::new(env!("CARGO_BIN_EXE_thermocline")).parent().unwrap();
    for snippet in snippets {
        let mut shell = tokio::process::Command::new("bash");
        shell.args(["-euc", &snippet]).current_dir(dir.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        shell.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", binary.display()));
        let output = within(&snippet, shell.output()).await.unwrap();
        assert!(output.status.success(), "{snippet}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
