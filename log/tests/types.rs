//! Every type of column survives the journal, recovery and sealing, small batches and large, whole and sliced.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use arrow::array::builder::{ListBuilder, StringBuilder, StringViewBuilder};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationSecondArray, FixedSizeBinaryArray,
    Float32Array, Int8Array, LargeStringArray, NullArray, RecordBatch, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use common::{append, options};
use thermocline_log::{Durability, Error, Log, LogOptions, StreamSpec};

/// Rows with a NULL in every column that may have one.
fn rows(count: i32) -> RecordBatch {
    let some = |n: &i32| n % 5 != 0;
    let n: Vec<i32> = (0..count).collect();
    let mut tags = ListBuilder::new(StringBuilder::new());
    let mut view = StringViewBuilder::new();
    for n in &n {
        for tag in 0..n % 4 {
            tags.values().append_value(format!("tag {tag}"));
        }
        tags.append(some(n));
        view.append_option(some(n).then(|| format!("a text that is too long to be inlined {n}")));
    }
    let bytes = |n: &i32| some(n).then(|| n.to_be_bytes().to_vec());
    let binary: Vec<Option<Vec<u8>>> = n.iter().map(bytes).collect();
    let text = |n: &i32| some(n).then(|| "é".repeat(usize::try_from(*n % 9).unwrap()));
    let inner: ArrayRef = Arc::new(Float32Array::from_iter(n.iter().map(|n| some(n).then_some(0.5))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("boolean", Arc::new(BooleanArray::from_iter(n.iter().map(|n| some(n).then_some(n % 2 == 0))))),
        ("int8", Arc::new(Int8Array::from_iter(n.iter().map(|n| some(n).then_some(-1))))),
        ("uint64", Arc::new(UInt64Array::from_iter(n.iter().map(|n| some(n).then_some(u64::MAX))))),
        ("float32", Arc::new(Float32Array::from_iter(n.iter().map(|n| some(n).then_some(f32::NAN))))),
        ("decimal", Arc::new(Decimal128Array::from_iter(n.iter().map(|n| some(n).then_some(i128::from(*n)))))),
        ("date", Arc::new(Date32Array::from_iter(n.iter().map(|n| some(n).then_some(*n))))),
        ("time", Arc::new(Time64MicrosecondArray::from_iter(n.iter().map(|n| some(n).then_some(i64::from(*n)))))),
        ("duration", Arc::new(DurationSecondArray::from_iter(n.iter().map(|n| some(n).then_some(i64::from(*n)))))),
        (
            "ts",
            Arc::new(
                TimestampMicrosecondArray::from_iter(n.iter().map(|n| some(n).then_some(i64::from(*n))))
                    .with_timezone("UTC"),
            ),
        ),
        ("binary", Arc::new(BinaryArray::from_iter(binary.iter()))),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(binary.iter().cloned(), 4).unwrap())),
        ("large_text", Arc::new(LargeStringArray::from_iter(n.iter().map(text)))),
        ("text_view", Arc::new(view.finish())),
        ("tags", Arc::new(tags.finish())),
        ("point", Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", DataType::Float32, true)), inner)]))),
        ("nothing", Arc::new(NullArray::new(n.len()))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .unwrap()
}

fn read(log: &Log, expected: &RecordBatch) {
    let stream = log.stream("types").unwrap();
    let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
    let mut batches = Vec::new();
    while let Some(rows) = reader.next(100).unwrap() {
        batches.push(rows.batch);
    }
    let found = concat_batches(&expected.schema(), &batches).unwrap();
    // NaN is not equal to itself; its text is.
    let text = |batch: &RecordBatch| {
        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
    };
    assert_eq!(text(&found), text(expected));
}

#[tokio::test]
async fn every_type_survives() {
    for durability in [Durability::Sync, Durability::Os, Durability::Interval(std::time::Duration::from_millis(5))] {
        let dir = tempfile::tempdir().unwrap();
        let options = || LogOptions { durability, ..options() };
        let log = Log::open(dir.path(), options()).unwrap();
        let all = rows(1000);
        let stream = log.create_stream(StreamSpec::new("types", all.schema())).await.unwrap();
        let (mut at, mut step) = (0, 1);
        while at < all.num_rows() {
            let len = step.min(all.num_rows() - at);
            log.commit(append(&stream, all.slice(at, len))).await.unwrap();
            (at, step) = (at + len, step * 2);
        }
        read(&log, &all);
        drop(log);
        let log = Log::open(dir.path(), options()).unwrap();
        read(&log, &all);
        log.seal().await.unwrap();
        read(&log, &all);
        drop(log);
        let log = Log::open(dir.path(), options()).unwrap();
        assert_eq!(log.segments(stream.id(), 0).unwrap().len(), 1);
        read(&log, &all);
    }
}

#[tokio::test]
async fn columns_that_tie_batches_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let nested = DataType::List(Arc::new(Field::new("item", dictionary, true)));
    let spec = StreamSpec::new("types", Arc::new(Schema::new(vec![Field::new("a", nested, true)])));
    let refused = log.create_stream(spec).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidStream { .. }), "{refused}");
    assert!(refused.to_string().starts_with("stream \"types\" cannot be created: column \"a\": expected plain values"));
}

#[tokio::test]
async fn a_schema_that_would_change_on_disk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let no_zone = DataType::Timestamp(arrow::datatypes::TimeUnit::Second, Some("".into()));
    let spec = StreamSpec::new("types", Arc::new(Schema::new(vec![Field::new("a", no_zone, true)])));
    let refused = log.create_stream(spec).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidStream { .. }), "{refused}");
}
