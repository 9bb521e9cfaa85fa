//! The examples do what their READMEs say: the `sh` blocks, run as they stand in a copy of the folder. Blocks marked
//! `bash` need services of the reader's own and are not run.

use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{
    Influxd, Receiver, Run, eventually, examples_dir, free_port, machine_csv, machine_csv_missing, pipeline, within,
};

/// The `sh` blocks of a README, in their order.
fn commands(readme: &str) -> String {
    let blocks = readme.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

/// A folder for PATH with the binary, whose servers listen on a free port instead of the one everybody has.
fn bin(dir: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = bin.join("thermocline");
    let binary = env!("CARGO_BIN_EXE_thermocline");
    let text =
        format!("#!/bin/sh\n[ \"$1\" = run ] && exec {binary} \"$@\" --listen 127.0.0.1:0\nexec {binary} \"$@\"\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// Runs an example as its README says; what it printed.
async fn as_the_readme_says(example: &str, env: &[(&str, &Path)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("examples").join(example);
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(examples_dir().join(example)).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let commands = commands(&std::fs::read_to_string(copy.join("README.md")).unwrap());
    assert!(commands.contains("thermocline run"), "{commands}");
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-euxo", "pipefail", "-c", &commands]).current_dir(dir.path()).env_clear();
    bash.env("PATH", format!("{}:/usr/bin:/bin", bin(dir.path()).display())).envs(env.iter().copied());
    let output = within(example, bash.stdin(Stdio::null()).kill_on_drop(true).output()).await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(copy.join(format!("{}-archive/_delta_log", example.split('-').next().unwrap())).is_dir());
    stdout.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plant() {
    let printed = as_the_readme_says("plant", &[]).await;
    assert_eq!(printed.matches(r#""action":"trigger""#).count(), 5, "{printed}");
    assert_eq!(printed.matches(r#""action":"resolve""#).count(), 5, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let printed = as_the_readme_says("machine-temperature", &[("MACHINE_CSV", &csv)]).await;
    assert_eq!(printed.matches(r#""action":"trigger""#).count(), 4, "{printed}");
    assert_eq!(printed.matches(r#""action":"resolve""#).count(), 4, "{printed}");
}

/// Eighty seconds of the plant: dev-0003 is too hot at their end, so that its alert is not over before it is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_plant_goes_to_services_where_variables_say_so() {
    let (dir, port, pagerduty) = (tempfile::tempdir().unwrap(), free_port(), Receiver::start().await);
    let (influxd, archive) = (Influxd::start(port).await, dir.path().join("elsewhere"));
    let run = Run::new(pipeline("plant", dir.path(), &[]), dir.path().join("data"))
        .env("PLANT_ROWS", "8000")
        .env("PLANT_ONCALL", "pagerduty")
        .env("PLANT_ONCALL_URL", &pagerduty.url)
        .env("PLANT_ONCALL_SECRET", "PAGERDUTY_ROUTING_KEY")
        .env("PAGERDUTY_ROUTING_KEY", "0123456789abcdef0123456789abcdef")
        .env("PLANT_METRICS", "influxdb")
        .env("PLANT_METRICS_URL", Influxd::url(port))
        .env("PLANT_METRICS_DATABASE", "plant")
        .env("PLANT_ARCHIVE", &archive);
    let running = run.start().await;
    let requests = pagerduty.wait_for("an alert", |requests| !requests.is_empty()).await;
    assert_eq!(requests[0].body["event_action"], "trigger");
    let summary = "dev-0003 at Hamburg: up to 89.1 °C in the last minute";
    assert_eq!(requests[0].body["payload"]["summary"], summary);
    let hottest = "SELECT max(max_temperature) FROM \"plant_series\" WHERE device_id = 'dev-0003'";
    eventually("the series in InfluxDB", || async {
        influxd.query(hottest).await.first().filter(|row| row[1] == 89.136).map(|_| ())
    })
    .await;
    eventually("the archive", || async { archive.join("_delta_log/00000000000000000001.json").exists().then_some(()) })
        .await;
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0));
}
