//! Appending, reading back, reopening: the path every row takes.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{append, numbers_stream, options, read_numbers, rows, schema};
use thermocline_log::{Commit, Error, Log, OffsetRange, Retention, StreamSpec};

#[tokio::test]
async fn rows_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    for (from, count) in [(0, 1), (1, 3), (4, 300), (304, 1), (305, 70_000)] {
        let receipt = log.commit(append(&stream, rows(from, count))).await.unwrap();
        let range = OffsetRange {
            stream: stream.id(),
            partition: 0,
            start: from.cast_unsigned(),
            end: (from + count).cast_unsigned(),
        };
        assert_eq!(receipt.ranges, [range]);
    }
    let expected: Vec<i64> = (0..70_305).collect();
    assert_eq!(read_numbers(&log, &stream, 0), expected);
    drop(log);
    for _ in 0..3 {
        let log = Log::open(dir.path(), options()).unwrap();
        let stream = log.stream("numbers").unwrap();
        assert_eq!(stream.spec(), &StreamSpec::new("numbers", schema()));
        assert_eq!(read_numbers(&log, &stream, 0), expected);
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_small_commits_get_contiguous_offsets_in_call_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let commits: Vec<_> = (0..2000).map(|n| log.commit(append(&stream, rows(n, 1)))).collect();
    for (n, commit) in (0_u64..).zip(commits) {
        assert_eq!(commit.await.unwrap().ranges[0].start, n);
    }
    assert_eq!(read_numbers(&log, &stream, 0), (0..2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn cursors_and_values_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let mut commit = append(&stream, rows(0, 10));
    commit.move_cursor("sink", stream.id(), 0, 4).put("a/1", b"one".to_vec()).put("a/2", b"two".to_vec()).put("b", []);
    log.commit(commit).await.unwrap();
    let mut commit = Commit::new();
    commit.move_cursor("sink", stream.id(), 0, 7).delete("a/1").put("a/3", vec![0; 100_000]);
    log.commit(commit).await.unwrap();
    drop(log);
    for _ in 0..3 {
        let log = Log::open(dir.path(), options()).unwrap();
        assert_eq!(log.cursor("sink", stream.id(), 0), Some(7));
        assert_eq!(log.cursor("other", stream.id(), 0), None);
        assert_eq!(log.value("a/1"), None);
        assert_eq!(log.value("b"), Some(Vec::new()));
        assert_eq!(log.values("a/"), [("a/2".to_owned(), b"two".to_vec()), ("a/3".to_owned(), vec![0; 100_000])]);
    }
}

#[tokio::test]
async fn keyed_rows_stay_in_order_within_their_partition() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let spec =
        StreamSpec { partitions: 4, partition_key: vec!["device".to_owned()], ..StreamSpec::new("keyed", schema()) };
    let stream = log.create_stream(spec).await.unwrap();
    let receipt = log.commit(append(&stream, rows(0, 5000))).await.unwrap();
    assert_eq!(receipt.ranges.iter().map(|range| range.end - range.start).sum::<u64>(), 5000);
    log.commit(append(&stream, rows(5000, 20))).await.unwrap();
    let mut all = Vec::new();
    for partition in 0..4 {
        let numbers = read_numbers(&log, &stream, partition);
        assert!(numbers.is_sorted());
        all.extend(numbers);
    }
    all.sort_unstable();
    assert_eq!(all, (0..5020).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_without_a_key_stays_whole_and_batches_go_round() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let spec = StreamSpec { partitions: 3, ..StreamSpec::new("spread", schema()) };
    let stream = log.create_stream(spec).await.unwrap();
    let mut placed = Vec::new();
    for n in 0..6 {
        let receipt = log.commit(append(&stream, rows(n * 10, 10))).await.unwrap();
        assert_eq!(receipt.ranges.len(), 1);
        placed.push(receipt.ranges[0].partition);
    }
    assert_eq!(placed, [0, 1, 2, 0, 1, 2]);
}

#[tokio::test]
async fn one_commit_over_two_streams_is_one_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let first = numbers_stream(&log).await;
    let second = log.create_stream(StreamSpec::new("others", schema())).await.unwrap();
    assert_ne!(first.id(), second.id());
    let mut commit = Commit::new();
    commit.append(first.id(), rows(0, 3)).append_to(second.id(), 0, rows(0, 400)).append(first.id(), rows(3, 2));
    let receipt = log.commit(commit).await.unwrap();
    let ranges: Vec<_> = receipt.ranges.iter().map(|range| (range.stream, range.start, range.end)).collect();
    assert_eq!(ranges, [(first.id(), 0, 3), (second.id(), 0, 400), (first.id(), 3, 5)]);
    assert_eq!(read_numbers(&log, &first, 0), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_reader_projects_seeks_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 100))).await.unwrap();
    let mut reader = log.reader(stream.id(), 0, 40, Some(vec![2, 1])).unwrap();
    let rows_read = reader.next(7).unwrap().unwrap();
    assert_eq!((rows_read.start_offset, rows_read.batch.num_rows()), (40, 7));
    assert_eq!(rows_read.batch.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["note", "n"]);
    reader.seek(100);
    assert!(reader.next(1).unwrap().is_none());
    let waiting = tokio::spawn(async move {
        reader.wait().await;
        reader.next(10).unwrap().unwrap().batch.num_rows()
    });
    tokio::task::yield_now().await;
    log.commit(append(&stream, rows(100, 5))).await.unwrap();
    assert_eq!(waiting.await.unwrap(), 5);
}

#[tokio::test]
async fn waiting_ends_when_the_log_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
    let waiting = tokio::spawn(async move { reader.wait().await });
    log.close().await.unwrap();
    waiting.await.unwrap();
    assert!(matches!(log.commit(append(&stream, rows(0, 1))).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    assert!(matches!(Log::open(dir.path(), options()), Err(Error::Locked { .. })));
    log.close().await.unwrap();
    Log::open(dir.path(), options()).unwrap();
}

#[tokio::test]
async fn another_definition_is_refused_and_retention_is_updated() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let other = StreamSpec { partitions: 2, ..StreamSpec::new("numbers", schema()) };
    let refused = log.create_stream(other).await.unwrap_err();
    assert_eq!(refused.to_string(), "stream \"numbers\" exists with another number of partitions: expected 2, found 1");
    let retention = Retention { max_age: Some(Duration::from_secs(60)), max_bytes: Some(1 << 30) };
    let spec = StreamSpec { retention, ..StreamSpec::new("numbers", schema()) };
    assert_eq!(log.create_stream(spec).await.unwrap().id(), stream.id());
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    assert_eq!(log.stream("numbers").unwrap().spec().retention, retention);
}

#[tokio::test]
async fn bad_rows_are_refused_and_neighbours_are_unharmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let wrong = rows(0, 2).project(&[1]).unwrap();
    assert!(matches!(log.commit(append(&stream, wrong)).await, Err(Error::SchemaMismatch { .. })));
    let mut commit = Commit::new();
    commit.append_to(stream.id(), 9, rows(0, 1));
    assert!(matches!(log.commit(commit).await, Err(Error::UnknownPartition { partition: 9, partitions: 1, .. })));
    assert!(matches!(log.create_stream(StreamSpec::new("../up", schema())).await, Err(Error::InvalidStream { .. })));
    log.commit(append(&stream, rows(0, 2))).await.unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), [0, 1]);
}
