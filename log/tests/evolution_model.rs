//! Random chains of changes to a stream's columns, with rows, seals, merges and crashes in between: whatever was read is
//! what a model by names says.

#![allow(clippy::unwrap_used)]

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use common::{append, copy_dir, options};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use thermocline_log::{Durability, Error, Log, LogOptions, PartitionReader, Stream, StreamSpec};

/// One step. Choices are indices into whatever there is when the step is taken.
#[derive(Debug, Clone)]
enum Step {
    /// Rows under the newest schema, or under one the stream had.
    Append {
        rows: usize,
        schema: Option<Index>,
    },
    /// So many small segments that they are merged.
    Crumbs,
    Seal,
    /// Each change is a column to widen, to let be NULL, or to add; then the columns are rotated.
    Evolve {
        changes: Vec<(Index, Index)>,
        rotate: Index,
    },
    OpenReader {
        columns: Vec<Index>,
    },
    /// The process is gone, what it had written stays.
    Crash,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        5 => (1..30_usize, prop::option::of(index())).prop_map(|(rows, schema)| Step::Append { rows, schema }),
        1 => (250..700_usize, prop::option::of(index())).prop_map(|(rows, schema)| Step::Append { rows, schema }),
        1 => Just(Step::Crumbs),
        2 => Just(Step::Seal),
        4 => (prop::collection::vec((index(), index()), 1..4), index())
            .prop_map(|(changes, rotate)| Step::Evolve { changes, rotate }),
        2 => prop::collection::vec(index(), 0..4).prop_map(|columns| Step::OpenReader { columns }),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
    ]
}

/// By hand, the next wider types.
fn wider(data_type: &DataType) -> Vec<DataType> {
    use DataType::*;
    match data_type {
        Int8 => vec![Int16, Float32],
        UInt8 => vec![UInt16, Int16, Float64],
        UInt16 => vec![UInt32, Int32],
        UInt32 => vec![Int64, UInt64, Float64],
        Int16 => vec![Int32, Float32],
        Int32 => vec![Int64, Float64],
        Float32 => vec![Float64],
        Decimal128(_, _) => {
            vec![Decimal128(20, 4), Decimal256(40, 6)].into_iter().filter(|to| to != data_type).collect()
        }
        Utf8 => vec![Utf8View, LargeUtf8],
        Utf8View => vec![LargeUtf8],
        _ => Vec::new(),
    }
}

const NEW_TYPES: [DataType; 7] = [
    DataType::Int8,
    DataType::UInt8,
    DataType::UInt32,
    DataType::Float32,
    DataType::Decimal128(9, 2),
    DataType::Utf8,
    DataType::Utf8View,
];

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

/// A value as text, whatever the width of its type.
type Value = Option<String>;

/// The value that row `row`, written under `field`, has in the column.
fn value(row: usize, field: &Field) -> Value {
    let mut hasher = DefaultHasher::new();
    (row, field.name()).hash(&mut hasher);
    let hash = hasher.finish();
    if field.is_nullable() && hash.is_multiple_of(5) {
        return None;
    }
    let number = hash / 5 % 100;
    Some(if is_text(field.data_type()) { format!("text of {number} and {row}") } else { format!("{number}") })
}

fn batch(schema: &SchemaRef, rows: std::ops::Range<usize>) -> RecordBatch {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let values = rows.clone().map(|row| value(row, field));
        let plain: ArrayRef = if is_text(field.data_type()) {
            Arc::new(StringArray::from_iter(values))
        } else {
            Arc::new(Float64Array::from_iter(values.map(|value| value.map(|text| text.parse::<f64>().unwrap()))))
        };
        cast(&plain, field.data_type()).unwrap()
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).unwrap()
}

fn values(column: &ArrayRef) -> Vec<Value> {
    if is_text(column.data_type()) {
        let texts = cast(column, &DataType::Utf8).unwrap();
        return texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
    }
    let numbers = cast(column, &DataType::Float64).unwrap();
    numbers.as_primitive::<Float64Type>().iter().map(|number| number.map(|number| format!("{number}"))).collect()
}

/// A reader that was opened some time ago, with the columns it was opened with.
struct Opened {
    reader: PartitionReader,
    schema: SchemaRef,
}

/// A log beside what it should hold.
struct Model {
    dir: TempDir,
    log: Log,
    schemas: Vec<SchemaRef>,
    /// The schema that each row was appended under.
    written: Vec<SchemaRef>,
    readers: Vec<Opened>,
}

impl Model {
    async fn new() -> Self {
        let fields = vec![
            Field::new("a", DataType::Int8, false),
            Field::new("b", DataType::Utf8, false),
            Field::new("c", DataType::Float32, true),
        ];
        let dir = tempfile::tempdir().unwrap();
        let schema = Arc::new(Schema::new(fields));
        let log = open(&dir);
        log.create_stream(StreamSpec::new("s", Arc::clone(&schema))).await.unwrap();
        Self { dir, log, schemas: vec![schema], written: Vec::new(), readers: Vec::new() }
    }

    fn stream(&self) -> Stream {
        self.log.stream("s").unwrap()
    }

    fn newest(&self) -> &SchemaRef {
        self.schemas.last().unwrap()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Append { rows, schema } => {
                let schema = schema.map_or(self.newest(), |index| index.get(&self.schemas));
                self.append(&Arc::clone(schema), *rows).await;
            }
            Step::Crumbs => {
                for _ in 0..9 {
                    self.append(&Arc::clone(self.newest()), 2).await;
                    self.log.seal().await.unwrap();
                }
            }
            Step::Seal => self.log.seal().await.unwrap(),
            Step::Evolve { changes, rotate } => self.evolve(changes, rotate).await,
            Step::OpenReader { columns } => {
                let newest = self.newest();
                let columns: Vec<usize> = columns.iter().map(|index| index.index(newest.fields().len())).collect();
                let columns = if columns.is_empty() { (0..newest.fields().len()).collect() } else { columns };
                let schema = Arc::new(newest.project(&columns).unwrap());
                let reader = self.log.reader(self.stream().id(), 0, 0, Some(columns)).unwrap();
                self.readers.push(Opened { reader, schema });
            }
            Step::Crash => {
                let crashed = tempfile::tempdir().unwrap();
                copy_dir(self.dir.path(), crashed.path());
                self.reopen(crashed);
            }
            Step::Reopen => {
                self.log.close().await.unwrap();
                let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
                self.reopen(dir);
            }
        }
    }

    fn reopen(&mut self, dir: TempDir) {
        self.readers.clear();
        self.log = open(&dir);
        self.dir = dir;
        let stream = self.stream();
        assert_eq!((stream.schema_version() as usize, stream.schema()), (self.schemas.len(), self.newest()));
    }

    async fn append(&mut self, schema: &SchemaRef, rows: usize) {
        let from = self.written.len();
        let receipt = self.log.commit(append(&self.stream(), batch(schema, from..from + rows))).await.unwrap();
        assert_eq!((receipt.ranges[0].start, receipt.ranges[0].end), (from as u64, (from + rows) as u64));
        self.written.extend(std::iter::repeat_n(Arc::clone(schema), rows));
    }

    async fn evolve(&mut self, changes: &[(Index, Index)], rotate: &Index) {
        let mut fields: Vec<Field> = self.newest().fields().iter().map(|field| field.as_ref().clone()).collect();
        for (what, how) in changes {
            // One more than there are columns is a new one.
            let at = what.index(fields.len() + 1);
            match fields.get_mut(at) {
                None => fields.push(Field::new(format!("new{at}"), how.get(&NEW_TYPES).clone(), true)),
                Some(field) => match wider(field.data_type()) {
                    types if types.is_empty() || how.index(4) == 3 => field.set_nullable(true),
                    types => field.set_data_type(how.get(&types).clone()),
                },
            }
        }
        let rotate = rotate.index(fields.len());
        fields.rotate_left(rotate);
        let schema = Arc::new(Schema::new(fields));
        let stream = self.log.create_stream(StreamSpec::new("s", Arc::clone(&schema))).await.unwrap();
        if schema != *self.newest() {
            self.schemas.push(schema);
        }
        assert_eq!((stream.schema_version() as usize, stream.schema()), (self.schemas.len(), self.newest()));
    }

    /// Checks rows from `from` on, handed out under `schema`.
    fn check_rows(&self, from: u64, rows: &RecordBatch, schema: &SchemaRef) {
        assert_eq!(rows.schema_ref(), schema);
        let written = &self.written[from as usize..from as usize + rows.num_rows()];
        for (field, column) in schema.fields().iter().zip(rows.columns()) {
            let numbered = (from as usize..).zip(written);
            let expected: Vec<Value> =
                numbered.map(|(row, written)| value(row, written.field_with_name(field.name()).ok()?)).collect();
            assert_eq!(values(column), expected, "column {} from row {from}", field.name());
        }
    }

    fn check(&mut self) {
        let (stream, newest) = (self.stream(), Arc::clone(self.newest()));
        let mut reader = self.log.reader(stream.id(), 0, 0, None).unwrap();
        while let Some(rows) = reader.next(100).unwrap() {
            self.check_rows(rows.start_offset, &rows.batch, &newest);
        }
        assert_eq!(reader.position(), self.written.len() as u64);
        for rows in self.log.snapshot(stream.id(), 0).unwrap().tail {
            self.check_rows(rows.start_offset, &rows.batch, &newest);
        }
        let mut readers = std::mem::take(&mut self.readers);
        for Opened { reader, schema } in &mut readers {
            self.check_reader(reader, schema, &newest);
        }
        self.readers = readers;
    }

    /// An older reader hands out all rows, or says which of its columns was changed.
    fn check_reader(&self, reader: &mut PartitionReader, schema: &SchemaRef, newest: &SchemaRef) {
        loop {
            match reader.next(100) {
                Ok(Some(rows)) => self.check_rows(rows.start_offset, &rows.batch, schema),
                Ok(None) => break assert_eq!(reader.position(), self.written.len() as u64),
                Err(Error::SchemaChanged { column, .. }) => {
                    let (read, now) =
                        (schema.field_with_name(&column).unwrap(), newest.field_with_name(&column).unwrap());
                    let is_changed = (read.data_type(), read.is_nullable()) != (now.data_type(), now.is_nullable());
                    break assert!(is_changed, "{column}: {read} and {now}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn open(dir: &TempDir) -> Log {
    let options = LogOptions { durability: Durability::Os, journal_file_bytes: 8 << 10, ..options() };
    Log::open(dir.path(), options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn rows_of_any_chain_of_schemas_are_read_by_name(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new().await;
            for step in &steps {
                model.take(step).await;
                if matches!(step, Step::Crash | Step::Reopen | Step::Crumbs) {
                    model.check();
                }
            }
            model.check();
            model.take(&Step::Seal).await;
            model.check();
        });
    }
}
