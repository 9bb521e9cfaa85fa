//! Columns come back as they were, bit by bit, with the statistics that the `parquet` crate's own writer gives.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch, UInt32Array,
};
use arrow::array::{StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::ColumnChunkMetaData;
use proptest::prelude::*;

use super::super::encoding;
use super::super::row_groups::RowGroups;

/// Splitmix64's last steps: as good as random.
fn random(row: u64) -> u64 {
    let mut z = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn read(file: Vec<u8>) -> (RecordBatch, Vec<ColumnChunkMetaData>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    let columns = builder.metadata().row_groups().iter().map(|group| group.column(0).clone()).collect();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    (concat_batches(&schema, &batches).unwrap(), columns)
}

/// Writes a column in one row group, checks that it comes back, and gives its metadata.
fn check(arrays: &[ArrayRef], nullable: bool) -> ColumnChunkMetaData {
    let field = Field::new("value", arrays[0].data_type().clone(), nullable);
    let schema: SchemaRef = Arc::new(Schema::new(vec![field]));
    let batch = |array: &ArrayRef| RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(array)]).unwrap();
    let batches: Vec<RecordBatch> = arrays.iter().map(batch).collect();
    let mut own = RowGroups::new(Vec::new(), Arc::clone(&schema));
    let mut other = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(encoding::properties())).unwrap();
    for batch in &batches {
        own.write(batch).unwrap();
        other.write(batch).unwrap();
    }
    let (found, columns) = read(own.finish().unwrap());
    let (_, expected) = read(other.into_inner().unwrap());
    let all = concat_batches(&schema, &batches).unwrap();
    assert_eq!(found.column(0).to_data(), all.column(0).to_data());
    let [column] = columns.try_into().unwrap();
    assert_eq!(column.statistics(), expected[0].statistics());
    assert_eq!(column.num_values(), all.num_rows() as i64);
    column
}

fn parts(array: &ArrayRef) -> Vec<ArrayRef> {
    (0..array.len()).step_by(5000).map(|from| array.slice(from, (array.len() - from).min(5000))).collect()
}

fn float(seed: u64) -> f64 {
    match seed % 8 {
        0 => -0.0,
        1 => 0.0,
        2 => f64::from_bits(0x7ff8_0000_0000_0000 | seed >> 50),
        3 => f64::NEG_INFINITY,
        4 => f64::from_bits(0xfff0_0000_0000_0001),
        _ => f64::from_bits(seed),
    }
}

fn text(seed: u64) -> String {
    let len = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 70, 200][(seed % 20) as usize];
    (0..len).map(|at| ['a', 'b', 'é', '\0', '漢', '\u{10ffff}', '\u{d7ff}'][(random(seed ^ at) % 7) as usize]).collect()
}

/// A value out of so many different ones.
fn array(ty: usize, seeds: &[Option<u64>]) -> ArrayRef {
    let number = |seed: &Option<u64>| seed.map(|seed| random(seed) >> (random(seed + 1) % 64));
    let floats = || seeds.iter().map(|seed| seed.map(float));
    let texts = || seeds.iter().map(|seed| seed.map(text));
    let bytes = || seeds.iter().map(|seed| seed.map(|seed| vec![(seed >> 3) as u8 | 0xf0; (seed % 90) as usize]));
    match ty {
        0 => Arc::new(Int64Array::from_iter(seeds.iter().map(|seed| number(seed).map(u64::cast_signed)))),
        1 => Arc::new(UInt64Array::from_iter(seeds.iter().map(number))),
        2 => Arc::new(Int32Array::from_iter(seeds.iter().map(|seed| number(seed).map(|number| number as i32)))),
        3 => Arc::new(Float64Array::from_iter(floats())),
        4 => Arc::new(Float32Array::from_iter(floats().map(|float| float.map(|float| float as f32)))),
        5 => Arc::new(StringArray::from_iter(texts())),
        6 => Arc::new(BinaryArray::from_iter(bytes())),
        7 => cast(&array(5, seeds), &DataType::Utf8View).unwrap(),
        8 => cast(&array(5, seeds), &DataType::LargeUtf8).unwrap(),
        9 => cast(&array(6, seeds), &DataType::BinaryView).unwrap(),
        10 => Arc::new(Int8Array::from_iter(seeds.iter().map(|seed| number(seed).map(|number| number as i8)))),
        11 => cast(&array(2, seeds), &DataType::Date32).unwrap(),
        _ => {
            Arc::new(TimestampMicrosecondArray::from_iter(seeds.iter().map(|seed| number(seed).map(u64::cast_signed))))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn columns_survive(
        ty in 0..13_usize,
        distinct in prop_oneof![Just(1_u64), 2..6_u64, 6..500_u64, Just(u64::MAX)],
        lengths in prop::collection::vec(1..600_usize, 1..4),
        nulls in prop::option::of(prop_oneof![1..10_u64, Just(10)]),
        run in prop_oneof![Just(1_usize), 1..100_usize],
        seed in any::<u64>(),
    ) {
        let value = |row: usize| {
            let drawn = random(seed ^ (row / run) as u64);
            let valid = nulls.is_none_or(|nulls| random(drawn ^ row as u64) % 10 >= nulls);
            valid.then(|| random(drawn % distinct))
        };
        let rows: usize = lengths.iter().sum();
        let all = array(ty, &(0..rows).map(value).collect::<Vec<_>>());
        let mut from = 0;
        let slice = |length: &usize| {
            from += length;
            all.slice(from - length, *length)
        };
        let arrays: Vec<ArrayRef> = lengths.iter().map(slice).collect();
        check(&arrays, nulls.is_some());
        if nulls.is_none() {
            check(&arrays, true);
        }
    }
}

#[test]
fn the_encoding_is_the_one_that_pays() {
    let encodings = |array: ArrayRef| -> Vec<Encoding> {
        let column = check(&parts(&array), array.null_count() > 0);
        column.encodings().filter(|encoding| *encoding != Encoding::RLE && *encoding != Encoding::PLAIN).collect()
    };
    let doubles = |rows: u64, of: &dyn Fn(u64) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values((0..rows).map(of)))
    };
    let exact = |row: u64| (random(row) >> 20) as f64;
    let rounded = |row: u64| (random(row) % 40_000) as f64 / 1000.0;
    assert_eq!(encodings(doubles(100_000, &exact)), [Encoding::BYTE_STREAM_SPLIT]);
    assert_eq!(encodings(doubles(100, &exact)), [Encoding::BYTE_STREAM_SPLIT]);
    assert_eq!(encodings(doubles(100_000, &rounded)), [Encoding::RLE_DICTIONARY]);
    assert_eq!(encodings(doubles(10_000, &rounded)), [Encoding::BYTE_STREAM_SPLIT]);
    assert_eq!(encodings(doubles(1000, &|row| (random(row) % 100) as f64)), [Encoding::RLE_DICTIONARY]);
    assert_eq!(encodings(doubles(100_000, &|_| f64::NAN)), [Encoding::RLE_DICTIONARY]);
    assert_eq!(encodings(Arc::new(Float64Array::from(vec![None; 100_000]))), [Encoding::RLE_DICTIONARY]);
    // Enough repetitions in a sample, and in all too many values.
    let some = |row: u64| if row.is_multiple_of(4) { 1.0 } else { exact(row) };
    let encoding = encodings(doubles(200_000, &|row| if row < 100_000 { 1.0 } else { some(row) }));
    assert_eq!(encoding, [Encoding::RLE_DICTIONARY]);
    let counter = Arc::new(Int64Array::from_iter_values((0..100_000).map(|row| i64::MIN + row * row)));
    assert_eq!(encodings(counter), [Encoding::DELTA_BINARY_PACKED]);
    let integers = Int32Array::from_iter((0..100_000).map(|row| (row % 9 > 0).then_some(random(row) as i32)));
    assert_eq!(encodings(Arc::new(integers)), [Encoding::DELTA_BINARY_PACKED]);
    // Beyond what fits 32 bits with a sign.
    let unsigned = UInt32Array::from_iter_values((0..100_000).map(|row| u32::MAX - random(row) as u32 / 3));
    assert_eq!(encodings(Arc::new(unsigned)), [Encoding::DELTA_BINARY_PACKED]);
    let times = TimestampMicrosecondArray::from_iter_values((0..70_000).map(|row| row * 1000));
    assert_eq!(encodings(Arc::new(times)), [Encoding::DELTA_BINARY_PACKED]);
    let texts =
        |of: &dyn Fn(u64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..100_000).map(of))) };
    assert_eq!(encodings(texts(&|row| format!("{:x}", random(row)))), []);
    assert_eq!(
        encodings(texts(&|row| format!("a device whose name is long {}", row % 1000))),
        [Encoding::RLE_DICTIONARY]
    );
    assert_eq!(encodings(texts(&|row| "long ".repeat(80) + &(row % 4000).to_string())), []);
}
