//! Any batches survive in a segment, from any offset and with any columns.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::any_batches;
use crate::fuzzing::MemoryDisk;
use crate::stream::{Stream, StreamId, StreamSpec};

const START: u64 = 1 << 40;

fn write(batches: &[RecordBatch]) -> Arc<Segment> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let schema = batches[0].schema();
    let mut writer = SegmentWriter::create(&disk, Path::new("/"), &schema, START, START + rows as u64).unwrap();
    for (append_ms, batch) in (5..).zip(batches) {
        writer.write(batch, append_ms).unwrap();
    }
    Arc::new(writer.finish().unwrap())
}

fn read(segment: &Arc<Segment>, batches: &[RecordBatch], offset: u64, columns: Option<&[usize]>) -> RecordBatch {
    let schema = batches[0].schema();
    let stream = Stream::new(StreamId(1), StreamSpec::new("numbers", Arc::clone(&schema)));
    let mut reader = SegmentReader::open(segment, &stream, offset, columns).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next().unwrap() {
        found.push(batch);
    }
    let schema = columns.map_or(Arc::clone(&schema), |columns| schema.project(columns).unwrap().into());
    concat_batches(&schema, &found).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_survive(
        batches in any_batches(),
        skip in any::<prop::sample::Index>(),
        columns in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let segment = write(&batches);
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        prop_assert_eq!(segment.name.append_ms, 4 + batches.len() as u64);
        prop_assert_eq!(&segment.name.to_string(), segment.path.file_name().unwrap().to_str().unwrap());
        prop_assert_eq!(&read(&segment, &batches, START, None), &all);
        let skip = skip.index(all.num_rows());
        let rest = all.slice(skip, all.num_rows() - skip);
        let offset = START + skip as u64;
        prop_assert_eq!(&read(&segment, &batches, offset, None), &rest);
        let mut columns: Vec<usize> = columns.iter().map(|column| column.index(all.num_columns())).collect();
        let mut seen = Vec::new();
        columns.retain(|column| !seen.contains(column) && { seen.push(*column); true });
        prop_assert_eq!(read(&segment, &batches, offset, Some(&columns)), rest.project(&columns).unwrap());
    }
}
