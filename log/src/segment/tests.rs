//! Any batches survive in a segment, from any offset and with any columns.

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{cast, concat_batches, filter_record_batch, is_not_null, take_record_batch};
use arrow::datatypes::DataType::{self, Utf8};
use arrow::datatypes::SchemaRef;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::any_batches;
use crate::condition::RowCondition;
use crate::error::Error;
use crate::fuzzing::MemoryDisk;
use crate::stream::{Stream, StreamId, StreamSpec};

const START: u64 = 1 << 40;

fn write(batches: &[RecordBatch]) -> Arc<Segment> {
    write_to(&MemoryDisk::default(), batches)
}

fn write_to(disk: &MemoryDisk, batches: &[RecordBatch]) -> Arc<Segment> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
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
        let asked = Wanted { projection: columns, dictionaries, condition: None };
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

/// True where a column has a value.
#[derive(Debug)]
struct HasValue([usize; 1]);

impl RowCondition for HasValue {
    fn columns(&self) -> &[usize] {
        &self.0
    }

    fn holds(&self, rows: &RecordBatch) -> Result<BooleanArray, arrow::error::ArrowError> {
        is_not_null(rows.column(0))
    }
}

/// Reads with a condition, and looks where the rows are that are left.
fn read_where(
    segment: &Arc<Segment>,
    all: &RecordBatch,
    offset: u64,
    condition: HasValue,
    columns: &[usize],
) -> RecordBatch {
    let stream = Stream::new(StreamId(1), StreamSpec::new("numbers", all.schema()));
    let condition: Arc<dyn RowCondition> = Arc::new(condition);
    let wanted = Wanted { projection: Some(columns), dictionaries: &[], condition: Some(&condition) };
    let mut reader = SegmentReader::open(segment, &stream, offset, &wanted).unwrap();
    let (mut next, mut found) = (offset, Vec::new());
    while let Some(rows) = reader.next_selected().unwrap() {
        assert_eq!(rows.start_offset, next);
        let selected = rows.selected.as_ref().unwrap();
        assert_eq!(selected.len(), rows.batch.num_rows());
        assert!(
            selected.values().is_sorted_by(|a, b| a < b)
                && selected.iter().flatten().all(|at| u64::from(at) < rows.rows)
        );
        let places = selected.values().iter().map(|at| rows.start_offset - START + u64::from(*at));
        let expected = take_record_batch(all, &UInt64Array::from_iter_values(places)).unwrap();
        assert_eq!(rows.batch, expected.project(columns).unwrap());
        next = rows.end_offset();
        found.push(rows.batch);
    }
    assert_eq!(next, segment.name.end);
    concat_batches(&all.schema().project(columns).unwrap().into(), &found).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_survive(
        batches in any_batches(),
        skip in any::<prop::sample::Index>(),
        columns in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        by in any::<prop::sample::Index>(),
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
        let by = by.index(all.num_columns());
        let left = filter_record_batch(&rest, &is_not_null(rest.column(by)).unwrap()).unwrap();
        prop_assert_eq!(read_where(&segment, &all, offset, HasValue([by]), &columns), left.project(&columns).unwrap());
    }
}

/// Two columns of some blocks each, of numbers that no encoding makes small.
fn large() -> RecordBatch {
    let numbers = |seed: u64| {
        let mixed = (0..100_000_u64).map(|n| (n + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mixed = mixed.map(|n| (n ^ (n >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 1);
        Arc::new(Int64Array::from_iter_values(mixed.map(u64::cast_signed))) as ArrayRef
    };
    RecordBatch::try_from_iter([("a", numbers(0)), ("b", numbers(1 << 40))]).unwrap()
}

/// The first column as far as it can be read.
fn first_column(segment: &Arc<Segment>, schema: &SchemaRef) -> Result<usize> {
    let stream = Stream::new(StreamId(1), StreamSpec::new("numbers", Arc::clone(schema)));
    let wanted = Wanted { projection: Some(&[0]), dictionaries: &[], condition: None };
    let mut reader = SegmentReader::open(segment, &stream, START, &wanted)?;
    let mut rows = 0;
    while let Some(batch) = reader.next()? {
        rows += batch.num_rows();
    }
    Ok(rows)
}

#[test]
fn a_flipped_bit_is_found_in_every_block_that_is_read_and_named() {
    let (disk, batch) = (MemoryDisk::default(), large());
    let schema = batch.schema();
    let segment = write_to(&disk, &[batch]);
    let (path, content) = disk.files().pop().unwrap();
    let mut found = Vec::new();
    for at in (0..content.len()).step_by(blocks::BLOCK_BYTES).chain([content.len() - 9]) {
        let mut damaged = content.clone();
        damaged[at] ^= 4;
        disk.put(&path, damaged);
        // Whoever knows nothing of the file reads all of it.
        let unknown = Arc::new(Segment::new(Arc::new(disk.clone()), path.clone(), segment.name.clone(), segment.bytes));
        assert!(first_column(&unknown, &schema).is_err(), "byte {at}");
        assert!(segment.verify().is_err(), "byte {at}");
        match first_column(&segment, &schema) {
            Ok(rows) => assert_eq!(rows, 100_000),
            Err(Error::Corrupt { offset, .. }) => {
                assert_eq!(offset, (at - at % blocks::BLOCK_BYTES) as u64);
                found.push(at);
            }
            Err(other) => panic!("{other}"),
        }
    }
    // The column's own blocks and the footer's; those of the other column only were not read.
    assert!(
        found.len() > 8 && found.contains(&0) && found.contains(&(content.len() - 9)),
        "{found:?} of {}",
        content.len()
    );
    assert!(found.len() < content.len() / blocks::BLOCK_BYTES);
    disk.put(&path, content);
    assert_eq!(first_column(&segment, &schema).unwrap(), 100_000);
}
