//! What is answered as a duplicate and for how long, without a journal.

use std::time::Duration;

use super::*;
use crate::commit::OffsetRange;
use crate::journal::{KeyEntry, ProducerEntry};
use crate::stream::StreamId;

const HOUR_MS: i64 = 60 * 60 * 1000;

fn commits(keys: usize, producers: usize) -> RecentCommits {
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    let windows = LogOptions { idempotency_window: hours(24), producer_window: hours(48), ..LogOptions::default() };
    RecentCommits::new(&LogOptions { idempotency_keys: keys, producers, ..windows })
}

fn key(key: &str, fingerprint: u64) -> CommitId {
    CommitId::Key { key: key.as_bytes().into(), fingerprint }
}

fn producer(producer: &str, sequence: u64) -> CommitId {
    CommitId::Producer { producer: producer.into(), sequence }
}

/// A receipt that tells the commits of a test apart.
fn receipt(start: u64, ranges: u32) -> Receipt {
    let range = |partition| OffsetRange { stream: StreamId(1), partition, start, end: start + 1 };
    Receipt { ranges: (0..ranges).map(range).collect(), duplicate: false }
}

/// Publishes a group of one commit.
fn publish(commits: &RecentCommits, id: CommitId, receipt: &Receipt, now_ms: i64) {
    let mut group = GroupIds::new(commits, now_ms);
    assert_eq!(group.check(&id).unwrap(), None, "{id:?} is new");
    let entry = group.add(id, receipt);
    commits.apply(&[entry]);
}

fn duplicate_of(receipt: &Receipt) -> Option<Receipt> {
    Some(Receipt { duplicate: true, ..receipt.clone() })
}

#[test]
fn a_key_answers_with_its_receipt_and_only_for_its_fingerprint() {
    let commits = commits(10, 10);
    publish(&commits, key("a", 1), &receipt(7, 2), 0);
    assert_eq!(commits.check(&key("a", 1), 0).unwrap(), duplicate_of(&receipt(7, 2)));
    assert!(matches!(commits.check(&key("a", 2), 0), Err(Error::KeyReused { key }) if key == "a"));
    assert_eq!(commits.check(&key("b", 1), 0).unwrap(), None);
    commits.clear();
    assert_eq!(commits.check(&key("a", 1), 0).unwrap(), None);
}

#[test]
fn the_oldest_key_goes_when_there_are_too_many() {
    let commits = commits(3, 10);
    for n in 0..5 {
        publish(&commits, key(&n.to_string(), n), &receipt(n, 1), 0);
    }
    let held = [0, 1, 2, 3, 4].map(|n| commits.check(&key(&n.to_string(), n), 0).unwrap().is_some());
    assert_eq!(held, [false, false, true, true, true]);
    assert_eq!(commits.counts(), (3, 0));
}

#[test]
fn keys_with_long_receipts_are_bounded_by_their_bytes() {
    let commits = commits(usize::MAX, 10);
    // 24 bytes a range: a bit more than 1 MiB each.
    for n in 0..40 {
        publish(&commits, key(&n.to_string(), n), &receipt(n, 44_000), 0);
    }
    assert_eq!(commits.counts(), (15, 0));
    assert!(commits.check(&key("24", 24), 0).unwrap().is_none());
    assert!(commits.check(&key("25", 25), 0).unwrap().is_some());
}

#[test]
fn a_window_ends_by_the_clock_and_begins_anew_with_the_next_commit() {
    let commits = commits(10, 10);
    publish(&commits, key("a", 1), &receipt(1, 1), 0);
    publish(&commits, producer("p", 5), &receipt(1, 1), 0);
    assert!(commits.check(&key("a", 1), 24 * HOUR_MS - 1).unwrap().is_some());
    assert_eq!(commits.check(&key("a", 1), 24 * HOUR_MS).unwrap(), None);
    assert_eq!(commits.check(&key("a", 2), 24 * HOUR_MS).unwrap(), None, "another fingerprint is free too");
    assert_eq!(commits.last_sequence("p", 48 * HOUR_MS - 1), Some(5));
    assert_eq!(commits.last_sequence("p", 48 * HOUR_MS), None);
    assert_eq!(commits.entries(30 * HOUR_MS).len(), 1, "a checkpoint leaves out what is past its window");

    publish(&commits, key("a", 2), &receipt(2, 1), 24 * HOUR_MS);
    publish(&commits, producer("p", 6), &receipt(2, 1), 48 * HOUR_MS);
    assert_eq!(commits.check(&key("a", 2), 48 * HOUR_MS - 1).unwrap(), duplicate_of(&receipt(2, 1)));
    let before = commits.check(&producer("p", 5), 48 * HOUR_MS);
    assert!(matches!(before, Err(Error::OutOfSequence { expected: 7, found: 5, .. })), "5 is forgotten: {before:?}");
    assert_eq!(commits.counts(), (1, 1));
}

#[test]
fn a_clock_that_jumps_forward_and_back_loses_nothing() {
    let commits = commits(10, 10);
    let (now, ahead) = (100 * HOUR_MS, 100_000 * HOUR_MS);
    publish(&commits, key("before", 1), &receipt(1, 1), now);
    publish(&commits, key("ahead", 1), &receipt(2, 1), ahead);
    assert_eq!(commits.check(&key("before", 1), ahead).unwrap(), None);
    assert!(commits.check(&key("before", 1), now).unwrap().is_some());
    assert!(commits.check(&key("ahead", 1), now).unwrap().is_some(), "from the future, and remembered");
    assert!(commits.check(&key("ahead", 1), i64::MIN).unwrap().is_some(), "no overflow");
    assert_eq!(commits.check(&key("before", 1), i64::MAX).unwrap(), None, "no overflow");
}

#[test]
fn a_producer_goes_on_by_one_and_nothing_is_taken_for_stored_that_is_not() {
    let commits = commits(10, 10);
    for sequence in 10..20 {
        publish(&commits, producer("p", sequence), &receipt(sequence, 1), 0);
    }
    for sequence in 15..20 {
        assert_eq!(commits.check(&producer("p", sequence), 0).unwrap(), duplicate_of(&receipt(sequence, 1)));
    }
    for sequence in 10..15 {
        assert_eq!(commits.check(&producer("p", sequence), 0).unwrap(), duplicate_of(&receipt(0, 0)), "no ranges");
    }
    for found in [0, 9, 21, u64::MAX] {
        let checked = commits.check(&producer("p", found), 0);
        assert!(matches!(checked, Err(Error::OutOfSequence { expected: 20, .. })), "{checked:?}");
        assert_eq!(commits.answer(&producer("p", found), 0).unwrap(), None, "what is queued may tell otherwise");
    }
    assert_eq!(commits.last_sequence("p", 0), Some(19));
    assert_eq!(commits.last_sequence("q", 0), None);
    publish(&commits, producer("q", u64::MAX), &receipt(1, 1), 0);
    assert!(commits.check(&producer("q", u64::MAX), 0).unwrap().is_some());
}

#[test]
fn a_producer_keeps_its_sequence_where_its_receipts_are_too_long() {
    let commits = commits(10, 10);
    for (sequence, ranges) in [(1, 30), (2, 30), (3, 30), (4, 1000), (5, 2)] {
        publish(&commits, producer("p", sequence), &receipt(sequence, ranges), 0);
    }
    let held = [1, 2, 3, 4, 5].map(|n| commits.check(&producer("p", n), 0).unwrap().unwrap().ranges.len());
    assert_eq!(held, [0, 0, 0, 0, 2]);
}

#[test]
fn the_producer_that_was_silent_longest_goes_when_there_are_too_many() {
    let commits = commits(10, 2);
    for (name, sequence) in [("a", 1), ("b", 1), ("a", 2), ("c", 1)] {
        publish(&commits, producer(name, sequence), &receipt(1, 1), 0);
    }
    assert_eq!(["a", "b", "c"].map(|name| commits.last_sequence(name, 0)), [Some(2), None, Some(1)]);
}

#[test]
fn a_group_knows_its_own_commits_and_forgets_them_when_it_fails() {
    let commits = commits(10, 10);
    publish(&commits, producer("p", 1), &receipt(1, 1), 0);
    for _ in 0..2 {
        let mut group = GroupIds::new(&commits, 0);
        group.add(key("a", 1), &receipt(5, 1));
        group.add(producer("p", 2), &receipt(6, 1));
        assert_eq!(group.check(&key("a", 1)).unwrap(), duplicate_of(&receipt(5, 1)));
        assert!(matches!(group.check(&key("a", 2)), Err(Error::KeyReused { .. })));
        for (sequence, start) in [(1, 1), (2, 6)] {
            assert_eq!(group.check(&producer("p", sequence)).unwrap(), duplicate_of(&receipt(start, 1)));
        }
        assert_eq!(group.check(&producer("p", 3)).unwrap(), None);
        assert_eq!(commits.check(&key("a", 1), 0).unwrap(), None, "the group is not durable");
        assert_eq!(commits.last_sequence("p", 0), Some(1));
    }
}

#[test]
fn a_checkpoint_holds_all_that_the_groups_told() {
    let commits = commits(10, 10);
    for n in 0..12 {
        publish(&commits, key(&n.to_string(), n), &receipt(n, 1), 0);
        publish(&commits, producer(["p", "q"][usize::from(n % 2 == 0)], n / 2), &receipt(n, 1), 0);
    }
    let entries = commits.entries(0);
    let reopened = RecentCommits::new(&LogOptions::default());
    reopened.apply(&entries);
    assert_eq!(reopened.entries(0), entries);
    assert_eq!(reopened.counts(), (10, 2));
}

#[test]
fn entries_that_follow_no_known_sequence_replace_it() {
    let commits = commits(10, 10);
    publish(&commits, producer("p", 1), &receipt(1, 1), 0);
    let again = ProducerEntry { producer: "p".into(), first: 1, last: 1, append_ms: 9, receipts: Vec::new() };
    commits.apply(&[Entry::Producer(again.clone())]);
    assert_eq!(commits.entries(0), [Entry::Producer(again)]);
    let late = KeyEntry { key: b"k".as_slice().into(), fingerprint: 3, append_ms: 0, ranges: [].into() };
    commits.apply(&[Entry::Key(late.clone()), Entry::Key(KeyEntry { fingerprint: 4, ..late })]);
    assert!(commits.check(&key("k", 4), 0).unwrap().is_some());
    assert_eq!(commits.counts(), (1, 1));
}

#[test]
fn ids_have_a_length() {
    assert!(key("", 1).check().is_err());
    assert!(producer("", 1).check().is_err());
    assert!(key(&"k".repeat(512), 1).check().is_ok());
    let error = key(&"k".repeat(513), 1).check().unwrap_err();
    assert_eq!(error.to_string(), "idempotency key: expected 1 to 512 bytes, found 513");
    let error = producer(&"p".repeat(256), 1).check().unwrap_err();
    assert_eq!(error.to_string(), "producer's name: expected 1 to 255 bytes, found 256");
}
