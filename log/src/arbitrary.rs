//! Batches of any columns that a stream may have, for property tests.

use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray,
    LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray, NullArray, RecordBatch, StringArray,
    StringViewArray, StructArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;

use crate::catalog::check_spec;
use crate::stream::StreamSpec;

/// A batch that is a part of a larger one, of a schema that a stream may have.
pub(crate) fn any_batch() -> impl Strategy<Value = RecordBatch> {
    (any_schema(), 0..5_usize, 0..40_usize, 0..5_usize, any::<u64>()).prop_map(|(schema, before, rows, after, seed)| {
        batch(&schema, before + rows + after, &mut Random(seed)).slice(before, rows)
    })
}

/// Batches of one schema.
pub(crate) fn any_batches() -> impl Strategy<Value = Vec<RecordBatch>> {
    (any_schema(), prop::collection::vec(1..60_usize, 1..5), any::<u64>()).prop_map(|(schema, lengths, seed)| {
        let mut random = Random(seed);
        lengths.into_iter().map(|rows| batch(&schema, rows + 3, &mut random).slice(2, rows)).collect()
    })
}

fn any_schema() -> impl Strategy<Value = SchemaRef> {
    let schema = |types: Vec<(DataType, bool)>| -> SchemaRef {
        let field = |(n, (ty, nulls)): (usize, (DataType, bool))| {
            let nulls = nulls || ty == DataType::Null;
            Field::new(format!("column {n}"), ty, nulls)
        };
        Arc::new(Schema::new(types.into_iter().enumerate().map(field).collect::<Vec<_>>()))
    };
    let types = prop::collection::vec((any_type(), any::<bool>()), 1..6).prop_map(schema);
    types.prop_filter("no stream has it", |schema| check_spec(&StreamSpec::new("any", Arc::clone(schema))).is_ok())
}

fn any_type() -> impl Strategy<Value = DataType> {
    use DataType::*;
    let unit = prop::sample::select(vec![
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ]);
    let plain = prop::sample::select(vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        FixedSizeBinary(1),
        FixedSizeBinary(7),
        Decimal32(9, 2),
        Decimal64(18, 2),
        Decimal128(38, 10),
        Decimal256(76, 3),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
    ]);
    let timestamp = (unit.clone(), any::<bool>()).prop_map(|(unit, zone)| Timestamp(unit, zone.then(|| "UTC".into())));
    let leaf = prop_oneof![6 => plain, 1 => timestamp, 1 => unit.prop_map(Duration)];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let item = inner.clone().prop_map(|ty| Arc::new(Field::new("item", ty, true)));
        let members = prop::collection::vec(inner.clone(), 1..4).prop_map(|types| {
            let field = |(n, ty): (usize, DataType)| Field::new(format!("member {n}"), ty, true);
            Struct(types.into_iter().enumerate().map(field).collect())
        });
        let map = inner.prop_map(|value| {
            let entries = vec![Field::new("key", Utf8, false), Field::new("value", value, true)];
            Map(Arc::new(Field::new("entries", Struct(entries.into()), false)), false)
        });
        prop_oneof![
            item.clone().prop_map(List),
            item.clone().prop_map(LargeList),
            (item, 1..4).prop_map(|(item, length)| FixedSizeList(item, length)),
            members,
            map,
        ]
    })
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> usize {
        usize::try_from(self.next() % n).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| u8::try_from(self.next() & 0xff).unwrap()).collect()
    }

    fn text(&mut self) -> String {
        let len = self.below(20);
        (0..len).map(|_| ['a', 'é', '\0', '漢', '"'][self.below(5)]).collect()
    }
}

fn batch(schema: &SchemaRef, rows: usize, random: &mut Random) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| array(field.data_type(), rows, field.is_nullable(), random));
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

fn array(ty: &DataType, len: usize, nullable: bool, random: &mut Random) -> ArrayRef {
    let valid: Vec<bool> = (0..len).map(|_| !nullable || random.below(4) > 0).collect();
    let nulls = nullable.then(|| NullBuffer::from(valid.clone()));
    let lengths: Vec<usize> = (0..len).map(|_| random.below(4)).collect();
    let items = lengths.iter().sum();
    let mut texts = || -> Vec<Option<String>> { valid.iter().map(|valid| valid.then(|| random.text())).collect() };
    match ty {
        DataType::Null => Arc::new(NullArray::new(len)),
        DataType::Boolean => Arc::new(BooleanArray::new((0..len).map(|_| random.below(2) == 1).collect(), nulls)),
        DataType::Utf8 => Arc::new(StringArray::from(texts())),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from(texts())),
        DataType::Utf8View => Arc::new(StringViewArray::from_iter(texts())),
        DataType::Binary => Arc::new(BinaryArray::from_iter(texts())),
        DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(texts())),
        DataType::BinaryView => Arc::new(BinaryViewArray::from_iter(texts())),
        DataType::FixedSizeBinary(size) => {
            let bytes = random.bytes(len * usize::try_from(*size).unwrap());
            Arc::new(FixedSizeBinaryArray::new(*size, Buffer::from_vec(bytes), nulls))
        }
        DataType::List(item) => {
            let values = array(item.data_type(), items, true, random);
            Arc::new(ListArray::new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, nulls))
        }
        DataType::LargeList(item) => {
            let values = array(item.data_type(), items, true, random);
            Arc::new(LargeListArray::new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, nulls))
        }
        DataType::FixedSizeList(item, length) => {
            let values = array(item.data_type(), len * usize::try_from(*length).unwrap(), true, random);
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *length, values, nulls))
        }
        DataType::Struct(fields) => Arc::new(structure(fields, len, nulls, random)),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!("a map's entries are a struct") };
            let values = structure(fields, items, None, random);
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::new(Arc::clone(entries), offsets, values, nulls, *sorted))
        }
        plain => {
            let bytes = random.bytes(len * plain.primitive_width().unwrap());
            let data = ArrayData::builder(plain.clone()).len(len).add_buffer(Buffer::from_vec(bytes)).nulls(nulls);
            make_array(data.align_buffers(true).build().unwrap())
        }
    }
}

fn structure(fields: &Fields, len: usize, nulls: Option<NullBuffer>, random: &mut Random) -> StructArray {
    let columns = fields.iter().map(|field| array(field.data_type(), len, field.is_nullable(), random)).collect();
    StructArray::new(fields.clone(), columns, nulls)
}
