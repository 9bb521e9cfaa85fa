//! A disk that does not keep up: what is taken in is bounded, clients are told to come again, and nobody is answered
//! before the disk has the rows.

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use thermocline_log::HookedDisk;

use super::*;
use crate::testing::FailingDisk;

const PATH: &str = "/v1/streams/readings";
const NDJSON: &str = "application/x-ndjson";
const ROWS: usize = 20;

/// Body number `n`: rows that no other body has, all bodies of the same length.
fn body(n: usize) -> String {
    (0..ROWS).map(|row| format!("{{\"device_id\":\"d\",\"ts\":{}}}\n", 1_000_000 + n * ROWS + row)).collect()
}

fn post(server: &Server, n: usize) -> BoxFuture<'_, (usize, Response)> {
    async move { (n, server.post(PATH, NDJSON, body(n)).await) }.boxed()
}

fn assert_told_to_come_again(answer: &Response) {
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "1");
}

/// Sends what was refused until it is stored.
async fn store(server: &Server, refused: impl IntoIterator<Item = usize>) {
    for n in refused {
        loop {
            let (_, answer) = post(server, n).await;
            if answer.status() == StatusCode::OK {
                break;
            }
            assert_told_to_come_again(&answer);
            tokio::task::yield_now().await;
        }
    }
}

/// Every row of the bodies below `bodies` is there once.
fn assert_stored_once(server: &Server, bodies: usize) {
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let times = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|line| line.split("\"ts\":").nth(1).unwrap().to_owned()).collect()
    };
    let found = sorted(times(server.lines()));
    assert_eq!(found.len(), bodies * ROWS);
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "no row is there twice");
}

#[tokio::test]
async fn bodies_that_wait_for_a_slow_disk_are_bounded_and_the_others_told_to_come_again() {
    const BODIES: usize = 30;
    const FIT: usize = 7;
    let disk = Arc::new(FailingDisk::default());
    let log = LogOptions { disk: HookedDisk::new(&disk), ..LogOptions::default() };
    let max_bytes_in_flight = (body(0).len() * FIT + 10) as u64;
    let server = Server::with(HttpOptions { max_bytes_in_flight, ..HttpOptions::default() }, log, |state| state).await;
    let held = disk.hold_syncs();
    let mut posts: FuturesUnordered<_> = (0..BODIES).map(|n| post(&server, n)).collect();
    let mut refused = Vec::new();
    while refused.len() < BODIES - FIT {
        let (n, answer) = posts.next().await.unwrap();
        assert_told_to_come_again(&answer);
        refused.push(n);
    }
    assert!(posts.next().now_or_never().is_none(), "nothing is acknowledged before it is on the disk");
    assert_eq!(server.lines().len(), 0, "nor seen");
    assert_eq!(server.fetch("/healthz").await.status(), StatusCode::OK);
    drop(held);
    let mut stored = 0;
    while let Some((_, answer)) = posts.next().await {
        assert_eq!(json(answer, StatusCode::OK).await["accepted"], ROWS);
        stored += 1;
    }
    assert_eq!(stored, FIT);
    store(&server, refused).await;
    assert_stored_once(&server, BODIES);
    drop(posts);
    server.stop().await;
}

#[tokio::test]
async fn rows_that_wait_for_a_slow_disk_are_bounded_and_the_others_told_to_come_again() {
    let disk = Arc::new(FailingDisk::default());
    let log = LogOptions { disk: HookedDisk::new(&disk), tail_bytes: 8_000, ..LogOptions::default() };
    let server = Server::with(HttpOptions::default(), log, |state| state).await;
    let held = disk.hold_syncs();
    let mut posts = FuturesUnordered::new();
    let mut refused = Vec::new();
    let mut bodies = 0;
    while refused.is_empty() {
        assert!(bodies < 1000, "rows are taken in without bound");
        posts.push(post(&server, bodies));
        bodies += 1;
        while let Some(Some((n, answer))) = posts.next().now_or_never() {
            assert_told_to_come_again(&answer);
            refused.push(n);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(server.lines().len(), 0);
    assert_eq!(server.fetch("/v1/streams").await.status(), StatusCode::OK, "reads go on");
    drop(held);
    while let Some((n, answer)) = posts.next().await {
        if answer.status() != StatusCode::OK {
            assert_told_to_come_again(&answer);
            refused.push(n);
        }
    }
    assert!(refused.len() < bodies);
    store(&server, refused).await;
    assert_stored_once(&server, bodies);
    drop(posts);
    server.stop().await;
}
