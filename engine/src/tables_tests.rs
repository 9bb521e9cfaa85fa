use std::path::Path;

use arrow::array::AsArray;
use datafusion::prelude::SessionContext;
use thermocline_sql::SourceFile;

use super::*;

/// A clock that a test moves.
#[derive(Debug, Default)]
struct TestClock(Mutex<Duration>);

impl Clock for TestClock {
    fn elapsed(&self) -> Duration {
        *self.0.lock()
    }
}

fn definition(folder: &Path) -> TableDef {
    let text = "CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv', refresh = '1 minute')";
    let file = SourceFile { path: folder.join("test.sql"), text: text.into() };
    let checked = thermocline_sql::check(&[file], &|_| None);
    let mut pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    pipeline.tables.swap_remove("devices").unwrap()
}

fn write(folder: &Path, content: &str) {
    std::fs::write(folder.join("devices.csv"), content).unwrap();
}

async fn sites(tables: &Tables) -> Vec<String> {
    let context = SessionContext::new();
    context.register_table("devices", tables.provider("devices").unwrap()).unwrap();
    let rows = context.sql("SELECT site FROM devices ORDER BY device").await.unwrap().collect().await.unwrap();
    rows.iter()
        .flat_map(|b| b.column(0).as_string::<i32>().iter().map(|v| v.unwrap().to_owned()).collect::<Vec<_>>())
        .collect()
}

#[tokio::test]
async fn a_changed_file_is_picked_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "device,site\na,north\n");
    let clock = Arc::new(TestClock::default());
    let tables = Tables::load([&definition(folder.path())], clock.clone()).await.unwrap();
    assert_eq!(sites(&tables).await, ["north"]);
    let first = tables.version();

    write(folder.path(), "device,site\na,south\nb,west\n");
    *clock.0.lock() += Duration::from_secs(59);
    tables.refresh().await;
    assert_eq!((tables.version(), sites(&tables).await), (first, vec!["north".to_owned()]), "not due yet");
    *clock.0.lock() += Duration::from_secs(1);
    tables.refresh().await;
    assert_eq!(sites(&tables).await, ["south", "west"]);
    let second = tables.version();
    assert_ne!(first, second);

    for broken in ["device,site\na\n", "device,site\na,x\na,y\n", "site\nx\n"] {
        write(folder.path(), broken);
        *clock.0.lock() += Duration::from_secs(60);
        tables.refresh().await;
        assert_eq!((tables.version(), sites(&tables).await), (second, vec!["south".into(), "west".into()]), "{broken}");
    }
    std::fs::remove_file(folder.path().join("devices.csv")).unwrap();
    *clock.0.lock() += Duration::from_secs(60);
    tables.refresh().await;
    assert_eq!(sites(&tables).await, ["south", "west"]);
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "device,site\na,north\nb,north\na,south\n");
    let error = Tables::load([&definition(folder.path())], Arc::new(TestClock::default())).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("devices.csv") && text.contains("primary key (device)") && text.contains("again: a"),
        "{text}"
    );
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Tables::load([&definition(folder.path())], Arc::new(TestClock::default())).await.unwrap_err();
    assert!(error.to_string().contains("devices.csv"), "{error}");
    assert_eq!(error.class(), crate::ErrorClass::External);
}
