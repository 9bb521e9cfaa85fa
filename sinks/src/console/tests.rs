//! Conformance of the console, and what alert events look like on it.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::ConsoleSink;
use crate::conformance::{Harness, MemoryLog, alert_rows, sensor_rows};
use crate::connector::Guarantee;
use crate::sink::Sink;

/// Standard output that can be taken away.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<(Vec<u8>, bool)>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut screen = self.0.lock();
        if screen.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        screen.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().0.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[async_trait]
impl Harness for Screen {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self) -> Box<dyn Sink> {
        Box::new(ConsoleSink::new("screen".into(), self.clone()))
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        sensor_rows(ids)
    }

    async fn stored(&self) -> Vec<Value> {
        self.lines()
    }

    async fn take_down(&self) {
        self.0.lock().1 = true;
    }

    async fn bring_up(&self) {
        self.0.lock().1 = false;
    }
}

crate::sink_conformance!(async { Screen::default() });

#[tokio::test]
async fn alert_events_have_their_key_and_details_as_objects() {
    let screen = Screen::default();
    let log = MemoryLog::new("alerts.overheating", 0, crate::alert_schema());
    log.append(&alert_rows(7..8));
    screen.open().write(&[log.delivery(0..1)]).await.unwrap();
    assert_eq!(
        screen.lines(),
        [json!({
            "ts": "2026-11-22T00:00:07Z",
            "alert": "overheating",
            "dedup_key": "plant/overheating/7",
            "action": "trigger",
            "severity": "info",
            "summary": "press-7 reached 93.5 °C",
            "key": {"device_id": "press-7"},
            "details": {"id": 7, "peak": 93.5},
        })]
    );
}
