//! Results that change after they were emitted go to sinks that take updates, and to no others.
#![allow(clippy::unwrap_used, reason = "a test")]

/// The findings about a query with `clauses` into a sink with these options.
async fn findings(sink: &str, clauses: &str) -> String {
    let text = format!(
        "CREATE STREAM readings (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts);
         CREATE SINK target WITH ({sink});
         INSERT INTO target SELECT window_start AS ts, device, avg(v) AS mean
         FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device, window_start, window_end {clauses};"
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.sql"), text).unwrap();
    let (_, findings) = thermocline::load(dir.path(), &|_| None).await.unwrap();
    findings.render()
}

#[tokio::test]
async fn only_sinks_that_take_updates_get_them() {
    let taking = ["connector = 'console'", "connector = 'influxdb', url = 'http://localhost:8086', database = 'plant'"];
    let keeping = [
        "connector = 'parquet', location = 'rows'",
        "connector = 'delta', location = 'table'",
        "connector = 'webhook', url = 'http://localhost:9/hook', allow_private = true",
    ];
    let clauses = ["EMIT ON UPDATE", "EMIT EVERY INTERVAL '1 second'", "ALLOW LATENESS INTERVAL '1 hour'"];
    for clause in clauses {
        for sink in taking {
            assert_eq!(findings(sink, clause).await, "", "{sink} {clause}");
        }
        for sink in keeping {
            let found = findings(sink, clause).await;
            assert!(found.contains("error[TC0408]"), "{sink} {clause}\n{found}");
            assert!(found.contains("sinks that take updates are console, blackhole, influxdb"), "{found}");
        }
    }
    for sink in keeping {
        assert!(!findings(sink, "EMIT ON WINDOW CLOSE").await.contains("TC0408"), "{sink}");
    }
}
