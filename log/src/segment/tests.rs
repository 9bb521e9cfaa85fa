//! Any batches survive in a segment, from any offset and with any columns.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType::{self, Utf8};
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
    let wanted = columns.map_or(Arc::clone(&schema), |columns| schema.project(columns).unwrap().into());
    let texts: Vec<usize> = (0..schema.fields().len()).filter(|i| *schema.field(*i).data_type() == Utf8).collect();
    let with = |dictionaries: &[usize]| {
        let asked = Wanted { projection: columns, dictionaries };
        let mut reader = SegmentReader::open(segment, &stream, offset, &asked).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = reader.next().unwrap() {
            for (column, field) in batch.columns().iter().zip(wanted.fields()) {
                let is_dictionary = matches!(column.data_type(), DataType::Dictionary(..));
                assert_eq!(is_dictionary, !dictionaries.is_empty() && *field.data_type() == Utf8);
            }
            let plain = batch.columns().iter().zip(wanted.fields()).map(|(c, f)| cast(c, f.data_type()).unwrap());
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let plain = RecordBatch::try_new_with_options(Arc::clone(&wanted), plain.collect(), &options);
            found.push(plain.unwrap());
        }
        concat_batches(&wanted, &found).unwrap()
    };
    let plain = with(&[]);
    assert_eq!(with(&texts), plain);
    plain
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
