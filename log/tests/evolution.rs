//! A stream's columns change while its rows stay: in the tail, in the journal, in segments, for readers and for who appends.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use common::{append, copy_dir, eventually, journal_files, options};
use thermocline_log::{Error, Log, LogOptions, Stream, StreamSpec, inspect, verify};

fn schema_of(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The first schema: `id` tells the row, `device` is the key.
fn narrow() -> SchemaRef {
    schema_of(&[
        ("id", DataType::Int32, false),
        ("device", DataType::Utf8, false),
        ("celsius", DataType::Float32, true),
    ])
}

/// A column wider, one more in the middle, another order.
fn wide() -> SchemaRef {
    schema_of(&[
        ("device", DataType::Utf8, false),
        ("room", DataType::Utf8, true),
        ("id", DataType::Int64, false),
        ("celsius", DataType::Float64, true),
    ])
}

/// Another column, and one that may be NULL now.
fn widest() -> SchemaRef {
    schema_of(&[
        ("device", DataType::Utf8, true),
        ("room", DataType::Utf8, true),
        ("id", DataType::Int64, false),
        ("celsius", DataType::Float64, true),
        ("hits", DataType::Int16, true),
    ])
}

/// Rows `ids` under a schema: every column's value follows from the row's number.
fn rows(schema: &SchemaRef, ids: std::ops::Range<i32>) -> RecordBatch {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let ids = ids.clone();
        match (field.name().as_str(), field.data_type()) {
            ("id", DataType::Int32) => Arc::new(Int32Array::from_iter_values(ids)),
            ("id", _) => Arc::new(Int64Array::from_iter_values(ids.map(i64::from))),
            ("device", _) => Arc::new(StringArray::from_iter_values(ids.map(|id| format!("device-{}", id % 5)))),
            ("celsius", DataType::Float32) => Arc::new(Float32Array::from_iter(ids.map(celsius))),
            ("celsius", _) => Arc::new(Float64Array::from_iter(ids.map(|id| celsius(id).map(f64::from)))),
            ("room", _) => Arc::new(StringArray::from_iter(ids.map(|id| (id % 2 == 0).then(|| format!("room {id}"))))),
            ("hits", _) => Arc::new(Int16Array::from_iter_values(ids.map(|id| i16::try_from(id % 100).unwrap()))),
            other => panic!("{other:?}"),
        }
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).unwrap()
}

fn celsius(id: i32) -> Option<f32> {
    #[allow(clippy::cast_precision_loss)] // small numbers
    (id % 3 != 0).then_some(id as f32 / 10.0)
}

fn spec(schema: SchemaRef) -> StreamSpec {
    StreamSpec { partition_key: vec!["device".to_owned()], ..StreamSpec::new("readings", schema) }
}

/// What rows `ids`, appended under `written`, are under `read`.
fn expected(written: &SchemaRef, read: &SchemaRef, ids: std::ops::Range<i32>) -> RecordBatch {
    let len = ids.len();
    let all = rows(read, ids);
    let columns = read.fields().iter().zip(all.columns()).map(|(field, column)| {
        if written.index_of(field.name()).is_ok() {
            Arc::clone(column)
        } else {
            arrow::array::new_null_array(field.data_type(), len)
        }
    });
    RecordBatch::try_new(Arc::clone(read), columns.collect()).unwrap()
}

fn read_all(log: &Log, stream: &Stream, projection: Option<Vec<usize>>) -> RecordBatch {
    let schema = match &projection {
        None => Arc::clone(stream.schema()),
        Some(columns) => Arc::new(stream.schema().project(columns).unwrap()),
    };
    let mut reader = log.reader(stream.id(), 0, 0, projection).unwrap();
    let mut batches = Vec::new();
    while let Some(rows) = reader.next(7).unwrap() {
        assert_eq!(rows.batch.schema(), schema);
        batches.push(rows.batch);
    }
    concat_batches(&schema, &batches).unwrap()
}

fn concat(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(batches[0].schema_ref(), batches).unwrap()
}

#[tokio::test]
async fn rows_of_every_age_are_read_with_the_newest_columns_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = log.create_stream(spec(narrow())).await.unwrap();
    assert_eq!(stream.schema_version(), 1);
    log.commit(append(&stream, rows(&narrow(), 0..10))).await.unwrap();
    log.seal().await.unwrap();
    log.commit(append(&stream, rows(&narrow(), 10..15))).await.unwrap();
    let stream = log.create_stream(spec(wide())).await.unwrap();
    assert_eq!((stream.schema_version(), stream.schema()), (2, &wide()));
    log.commit(append(&stream, rows(&wide(), 15..20))).await.unwrap();

    let of = |written: SchemaRef, ids| expected(&written, &wide(), ids);
    let all = concat(&[of(narrow(), 0..15), of(wide(), 15..20)]);
    let check = |log: &Log| {
        let stream = log.stream("readings").unwrap();
        assert_eq!((stream.schema_version(), stream.schema()), (2, &wide()));
        assert_eq!(read_all(log, &stream, None), all);
        for projection in [vec![2], vec![1], vec![3, 1, 0], vec![]] {
            let projected = all.project(&projection).unwrap();
            assert_eq!(read_all(log, &stream, Some(projection)), projected);
        }
        let snapshot = log.snapshot(stream.id(), 0).unwrap();
        assert_eq!(snapshot.schema, wide());
        let sealed = snapshot.segments.last().unwrap().end_offset as usize;
        let tail: Vec<_> = snapshot.tail.into_iter().map(|rows| rows.batch).collect();
        assert_eq!(concat_batches(&wide(), &tail).unwrap(), all.slice(sealed, 20 - sealed));
    };
    check(&log);
    // As a crash would leave it: the tail comes back from the journal.
    let crashed = dir.path().join("crashed");
    for part in ["journal", "segments", "LOG"] {
        let (from, to) = (dir.path().join(part), crashed.join(part));
        if from.is_dir() { copy_dir(&from, &to) } else { std::fs::copy(from, to).map(|_| ()).unwrap() }
    }
    let reopened = Log::open(&crashed, options()).unwrap();
    check(&reopened);
    drop(reopened);
    // A tail of rows of both ages goes into one segment.
    log.seal().await.unwrap();
    assert_eq!(log.segments(stream.id(), 0).unwrap().len(), 2);
    check(&log);
    drop(log);
    assert_eq!(verify(dir.path()).unwrap(), []);
    let log = Log::open(dir.path(), options()).unwrap();
    check(&log);
}

#[tokio::test]
async fn segments_of_every_age_are_merged_into_one_with_the_newest_columns() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let mut parts = Vec::new();
    for (at, schema) in (0..8).zip([narrow(), narrow(), wide(), wide(), wide(), widest(), widest(), widest()]) {
        let stream = log.create_stream(spec(Arc::clone(&schema))).await.unwrap();
        log.commit(append(&stream, rows(&schema, at * 10..at * 10 + 10))).await.unwrap();
        if at == 7 {
            assert_eq!(log.segments(stream.id(), 0).unwrap().len(), 7);
        }
        log.seal().await.unwrap();
        parts.push(expected(&schema, &widest(), at * 10..at * 10 + 10));
    }
    let stream = log.stream("readings").unwrap();
    assert_eq!(stream.schema_version(), 3);
    eventually("segments are merged", || log.segments(stream.id(), 0).unwrap().len() == 1).await;
    assert_eq!(read_all(&log, &stream, None), concat(&parts));
    let file = std::fs::File::open(&log.segments(stream.id(), 0).unwrap()[0].path).unwrap();
    let file = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(file.schema().fields(), widest().fields());
}

#[tokio::test]
async fn a_reader_keeps_the_columns_it_was_opened_with_as_long_as_they_hold_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = log.create_stream(spec(narrow())).await.unwrap();
    log.commit(append(&stream, rows(&narrow(), 0..5))).await.unwrap();
    let more = {
        let mut fields: Vec<_> = wide().fields().iter().rev().cloned().collect();
        fields[0] = Arc::new(Field::new("celsius", DataType::Float32, true));
        fields[1] = Arc::new(Field::new("id", DataType::Int32, false));
        Arc::new(Schema::new(fields))
    };
    let mut before = log.reader(stream.id(), 0, 0, None).unwrap();
    let mut celsius = log.reader(stream.id(), 0, 0, Some(vec![2])).unwrap();
    let mut device = log.reader(stream.id(), 0, 0, Some(vec![1])).unwrap();
    // A column more, in another order: who reads already does not see it.
    let stream = log.create_stream(spec(Arc::clone(&more))).await.unwrap();
    log.commit(append(&stream, rows(&more, 5..10))).await.unwrap();
    for ids in [0..5, 5..10] {
        assert_eq!(before.next(100).unwrap().unwrap().batch, rows(&narrow(), ids.clone()));
        assert_eq!(celsius.next(100).unwrap().unwrap().batch, rows(&narrow(), ids.clone()).project(&[2]).unwrap());
        assert_eq!(device.next(100).unwrap().unwrap().batch, rows(&narrow(), ids).project(&[1]).unwrap());
    }
    // A column wider: who reads it is told, in the tail and in a segment; who does not goes on.
    let stream = log.create_stream(spec(wide())).await.unwrap();
    log.commit(append(&stream, rows(&wide(), 10..15))).await.unwrap();
    for sealed in [false, true] {
        if sealed {
            log.seal().await.unwrap();
        }
        for reader in [&mut before, &mut celsius] {
            let changed = reader.next(100).unwrap_err();
            assert!(matches!(&changed, Error::SchemaChanged { stream, .. } if stream == "readings"), "{changed}");
        }
        assert_eq!(before.position(), 10);
    }
    let text = celsius.next(100).unwrap_err().to_string();
    let told = "column \"celsius\" of stream \"readings\" was changed to Float64 while it was read as Float32; reopen the reader";
    assert_eq!(text, told);
    assert_eq!(device.next(100).unwrap().unwrap().batch, rows(&narrow(), 10..15).project(&[1]).unwrap());
    let mut reopened = log.reader(stream.id(), 0, before.position(), None).unwrap();
    assert_eq!(reopened.next(100).unwrap().unwrap().batch, rows(&wide(), 10..15));
    // A column that may be NULL: who reads it is told once it is.
    let stream = log.create_stream(spec(widest())).await.unwrap();
    log.commit(append(&stream, rows(&widest(), 15..20))).await.unwrap();
    assert_eq!(reopened.next(100).unwrap().unwrap().batch, rows(&wide(), 15..20));
    let mut columns = rows(&widest(), 20..21).columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec![None::<&str>]));
    log.commit(append(&stream, RecordBatch::try_new(widest(), columns).unwrap())).await.unwrap();
    let text = reopened.next(100).unwrap_err().to_string();
    assert!(
        text.contains("\"device\"") && text.contains("changed to NULL while it was read as Utf8 not null"),
        "{text}"
    );
}

#[tokio::test]
async fn rows_of_an_earlier_schema_are_taken_and_any_others_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let early = log.create_stream(spec(narrow())).await.unwrap();
    log.create_stream(spec(wide())).await.unwrap();
    let stream = log.create_stream(spec(widest())).await.unwrap();
    // Few rows, and so many that they are encoded by who appends.
    log.commit(append(&early, rows(&narrow(), 0..5))).await.unwrap();
    log.commit(append(&early, rows(&narrow(), 5..505))).await.unwrap();
    log.commit(append(&early, rows(&wide(), 505..510))).await.unwrap();
    let of = |written: SchemaRef, ids| expected(&written, &widest(), ids);
    assert_eq!(read_all(&log, &stream, None), concat(&[of(narrow(), 0..505), of(wide(), 505..510)]));
    // A mixture of schemas that the stream never had, and NULL where there is none.
    let mixture = schema_of(&[("device", DataType::Utf8, false), ("id", DataType::Int32, false)]);
    let null_id = schema_of(&[
        ("id", DataType::Int32, true),
        ("device", DataType::Utf8, true),
        ("celsius", DataType::Float32, true),
    ]);
    let mut columns = rows(&narrow(), 0..1).columns().to_vec();
    columns[0] = Arc::new(Int32Array::from(vec![None]));
    let null_id = RecordBatch::try_new(null_id, columns).unwrap();
    for refused in [rows(&mixture, 0..1), null_id] {
        let error = log.commit(append(&stream, refused)).await.unwrap_err();
        assert!(matches!(&error, Error::SchemaMismatch { .. }), "{error}");
        assert!(error.to_string().contains("expected device Utf8, room Utf8, id Int64 not null"), "{error}");
    }
    assert_eq!(log.range(stream.id(), 0).unwrap(), 0..510);
}

#[tokio::test]
async fn a_key_of_wider_numbers_places_rows_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let key = |data_type| StreamSpec {
        partitions: 8,
        partition_key: vec!["id".to_owned()],
        ..StreamSpec::new("keyed", schema_of(&[("id", data_type, false)]))
    };
    let before = log.create_stream(key(DataType::Int32)).await.unwrap();
    let placed = |stream: &Stream, partition| {
        let mut reader = log.reader(stream.id(), partition, 0, None).unwrap();
        let mut ids: Vec<i64> = Vec::new();
        while let Some(rows) = reader.next(1000).unwrap() {
            ids.extend(rows.batch.column(0).as_primitive::<Int64Type>().values());
        }
        ids
    };
    let ids = |from: i32| rows(&schema_of(&[("id", DataType::Int32, false)]), from..from + 100);
    log.commit(append(&before, ids(-50))).await.unwrap();
    let after = log.create_stream(key(DataType::Int64)).await.unwrap();
    log.commit(append(&after, rows(after.schema(), -50..50))).await.unwrap();
    for partition in 0..8 {
        let placed = placed(&after, partition);
        let (first, second) = placed.split_at(placed.len() / 2);
        assert_eq!(first, second, "partition {partition}");
    }
    let refused = log.create_stream(key(DataType::Float64)).await.unwrap_err();
    assert!(matches!(&refused, Error::ColumnMismatch { column, .. } if column == "id"), "{refused}");
}

#[tokio::test]
async fn a_refused_change_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = log.create_stream(spec(wide())).await.unwrap();
    let refused = log.create_stream(spec(narrow())).await.unwrap_err();
    assert!(matches!(&refused, Error::ColumnMismatch { column, .. } if column == "room"), "{refused}");
    let two = StreamSpec { partitions: 2, ..spec(widest()) };
    assert!(matches!(log.create_stream(two).await, Err(Error::StreamMismatch { .. })));
    let twice = schema_of(&[("device", DataType::Utf8, false), ("device", DataType::Utf8, true)]);
    assert!(matches!(log.create_stream(spec(twice)).await, Err(Error::InvalidStream { .. })));
    let again = log.create_stream(spec(wide())).await.unwrap();
    assert_eq!((again.schema_version(), again.schema()), (1, stream.schema()));
    drop(log);
    assert_eq!(Log::open(dir.path(), options()).unwrap().stream("readings").unwrap().schema_version(), 1);
}

#[tokio::test]
async fn a_change_whose_caller_has_gone_is_waited_for_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    log.create_stream(spec(narrow())).await.unwrap();
    for schema in [wide(), widest()] {
        let mut abandoned = Box::pin(log.create_stream(spec(schema)));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(abandoned.as_mut().poll(context))).await;
        drop((polled, abandoned));
    }
    let mut more = widest().fields().to_vec();
    more.push(Arc::new(Field::new("more", DataType::Boolean, true)));
    let stream = log.create_stream(spec(Arc::new(Schema::new(more)))).await.unwrap();
    let version = stream.schema_version();
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = log.stream("readings").unwrap();
    assert_eq!((stream.schema_version(), stream.schema().fields().len()), (version, 6));
}

#[tokio::test]
async fn all_schemas_outlive_the_journal_files_they_were_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let small = || LogOptions { journal_file_bytes: 4 << 10, ..options() };
    let log = Log::open(dir.path(), small()).unwrap();
    // Of the slow stream nothing is sealed: its rows keep their schemas while the journal rolls.
    let mut parts = Vec::new();
    for (at, schema) in (0..).zip([narrow(), wide(), widest()]) {
        let stream = log.create_stream(spec(Arc::clone(&schema))).await.unwrap();
        log.commit(append(&stream, rows(&schema, at * 10..at * 10 + 10))).await.unwrap();
        parts.push(expected(&schema, &widest(), at * 10..at * 10 + 10));
        let other = log.create_stream(StreamSpec::new("other", narrow())).await.unwrap();
        for n in 0..10 {
            log.commit(append(&other, rows(&narrow(), n * 100..n * 100 + 100))).await.unwrap();
        }
    }
    assert!(journal_files(dir.path()).len() > 3);
    drop(log);
    for _ in 0..2 {
        let log = Log::open(dir.path(), small()).unwrap();
        let stream = log.stream("readings").unwrap();
        assert_eq!(stream.schema_version(), 3);
        assert_eq!(read_all(&log, &stream, None), concat(&parts));
        // Who appended with the first schema goes on.
        log.commit(append(&stream, rows(&narrow(), 0..10))).await.unwrap();
        parts.push(expected(&narrow(), &widest(), 0..10));
    }
    let log = Log::open(dir.path(), small()).unwrap();
    log.seal().await.unwrap();
    assert_eq!(journal_files(dir.path()).len(), 1);
    drop(log);
    let log = Log::open(dir.path(), small()).unwrap();
    let stream = log.stream("readings").unwrap();
    assert_eq!(read_all(&log, &stream, None), concat(&parts));
    assert_eq!(log.create_stream(spec(widest())).await.unwrap().schema_version(), 3);
}

/// Cut at every place, the journal holds the stream as it was or as it is, and the rows that go with it.
#[tokio::test]
async fn a_crash_at_any_byte_leaves_the_old_or_the_new_schema() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = log.create_stream(spec(narrow())).await.unwrap();
    log.commit(append(&stream, rows(&narrow(), 0..5))).await.unwrap();
    let file = journal_files(dir.path()).pop().unwrap();
    let used = || usize::try_from(log.stats().journal_bytes).unwrap();
    let before = used();
    let stream = log.create_stream(spec(wide())).await.unwrap();
    log.commit(append(&stream, rows(&wide(), 5..8))).await.unwrap();
    let end = used();
    let content = std::fs::read(&file).unwrap();
    drop(log);
    let mut seen = std::collections::BTreeSet::new();
    for cut in (before..=end).step_by(8) {
        let crashed = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), crashed.path());
        std::fs::write(crashed.path().join("journal").join(file.file_name().unwrap()), &content[..cut]).unwrap();
        let log = Log::open(crashed.path(), options()).unwrap();
        let stream = log.stream("readings").unwrap();
        let found = read_all(&log, &stream, None);
        seen.insert((stream.schema_version(), found.num_rows()));
        let all = match (stream.schema_version(), found.num_rows()) {
            (1, 5) => rows(&narrow(), 0..5),
            (2, 5) => expected(&narrow(), &wide(), 0..5),
            (2, 8) => concat(&[expected(&narrow(), &wide(), 0..5), rows(&wide(), 5..8)]),
            other => panic!("cut at {cut}: {other:?}"),
        };
        assert_eq!(found, all, "cut at {cut}");
        // It goes on from there.
        let stream = log.create_stream(spec(wide())).await.unwrap();
        assert_eq!(stream.schema_version(), 2);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(1, 5), (2, 5), (2, 8)]);
}

#[tokio::test]
async fn a_stream_of_format_version_1_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1"), dir.path());
    let found = {
        let log = Log::open(dir.path(), options()).unwrap();
        let checks = log.stream("checks").unwrap();
        assert_eq!(checks.schema_version(), 1);
        let schema =
            schema_of(&[("ok", DataType::Boolean, true), ("n", DataType::Int64, true), ("by", DataType::Utf8, true)]);
        let spec = StreamSpec { schema, ..checks.spec().clone() };
        let changed = log.create_stream(spec).await.unwrap();
        let found = read_all(&log, &changed, None);
        assert_eq!((found.num_rows(), found.column(2).null_count()), (7, 7));
        assert_eq!(found.column(1).as_primitive::<Int64Type>().values(), &[0, 1, 2, 3, 4, 5, 6]);
        found
    };
    let log = Log::open(dir.path(), options()).unwrap();
    let changed = log.stream("checks").unwrap();
    assert_eq!(changed.schema_version(), 2);
    assert_eq!(read_all(&log, &changed, None), found);
    log.seal().await.unwrap();
    assert_eq!(read_all(&log, &changed, None), found);
    drop(log);
    let inspected = inspect(dir.path()).unwrap();
    assert_eq!(inspected.streams[0].stream.schema_version(), 2);
}

/// Commits under the old schema that are queued while the stream is changed keep it, in one group with those under the new.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_under_way_while_a_stream_is_changed_are_read_like_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { seal_bytes: 20_000, ..options() }).unwrap();
    let first = log.create_stream(spec(narrow())).await.unwrap();
    let appending = tokio::spawn({
        let (log, stream) = (log.clone(), first.clone());
        async move {
            let commits = (0..2000).map(|n| log.commit(append(&stream, rows(&narrow(), n..n + 1))));
            for commit in commits.collect::<Vec<_>>() {
                commit.await.unwrap();
            }
        }
    });
    for schema in [wide(), widest()] {
        log.create_stream(spec(schema)).await.unwrap();
    }
    appending.await.unwrap();
    let stream = log.stream("readings").unwrap();
    let found = read_all(&log, &stream, None);
    assert_eq!(found, expected(&narrow(), &widest(), 0..2000));
    assert_eq!(found.column(3).as_primitive::<Float64Type>().null_count(), 667);
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    assert_eq!(read_all(&log, &log.stream("readings").unwrap(), None), found);
}
