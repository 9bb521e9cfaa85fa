//! The streams of an open log, by name and by number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, IntervalUnit};
use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::evolution;
use crate::ipc::{decode_schema, encode_schema};
use crate::partition::Partition;
use crate::segment;
use crate::stream::{Stream, StreamId, StreamSpec};

/// Longest name of a stream: it names a folder too.
const MAX_NAME_BYTES: usize = 200;
/// Most partitions of a stream.
const MAX_PARTITIONS: u32 = 4096;

/// A stream with what belongs to it.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    pub stream: Stream,
    /// Indices of the partition key's columns.
    pub key_columns: Vec<usize>,
    pub partitions: Vec<Arc<Partition>>,
    /// Where the next batch without a key goes.
    next_round_robin: AtomicU32,
}

impl StreamEntry {
    pub(crate) fn new(stream: Stream, partitions: Vec<Arc<Partition>>) -> Self {
        let schema = stream.schema();
        let key_columns = stream.spec().partition_key.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        Self { stream, key_columns, partitions, next_round_robin: AtomicU32::new(0) }
    }

    /// The same stream with another definition.
    fn redefined(&self, stream: Stream) -> Self {
        Self::new(stream, self.partitions.clone())
    }

    /// The partition of that number.
    pub(crate) fn partition(&self, number: u32) -> Result<&Arc<Partition>> {
        self.partitions.get(number as usize).ok_or_else(|| Error::UnknownPartition {
            stream: self.stream.name().to_owned(),
            partition: number,
            partitions: self.stream.partitions(),
        })
    }

    /// The partition that the next batch without a key goes to.
    pub(crate) fn round_robin(&self) -> u32 {
        self.next_round_robin.fetch_add(1, Ordering::Relaxed) % self.stream.partitions()
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    state: RwLock<CatalogState>,
}

#[derive(Debug, Default)]
struct CatalogState {
    by_name: BTreeMap<String, StreamId>,
    by_id: HashMap<StreamId, Arc<StreamEntry>>,
}

impl Catalog {
    /// The stream of that number.
    pub(crate) fn entry(&self, id: StreamId) -> Option<Arc<StreamEntry>> {
        self.state.read().by_id.get(&id).cloned()
    }

    /// The stream of that number, or the error that says it is not known.
    pub(crate) fn expect(&self, id: StreamId) -> Result<Arc<StreamEntry>> {
        self.entry(id).ok_or_else(|| Error::UnknownStream { name: format!("#{}", id.0) })
    }

    /// The stream of that name.
    pub(crate) fn named(&self, name: &str) -> Option<Stream> {
        let state = self.state.read();
        let id = state.by_name.get(name)?;
        state.by_id.get(id).map(|entry| entry.stream.clone())
    }

    /// All streams, by name.
    pub(crate) fn entries(&self) -> Vec<Arc<StreamEntry>> {
        let state = self.state.read();
        state.by_name.values().filter_map(|id| state.by_id.get(id).cloned()).collect()
    }

    /// All partitions of all streams.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.entries().iter().flat_map(|entry| entry.partitions.clone()).collect()
    }

    /// The partition, if there is one.
    pub(crate) fn partition(&self, stream: StreamId, partition: u32) -> Option<Arc<Partition>> {
        self.entry(stream)?.partitions.get(partition as usize).cloned()
    }

    /// A number that no stream has had.
    pub(crate) fn next_id(&self) -> StreamId {
        StreamId(self.state.read().by_id.keys().map(|id| id.0 + 1).max().unwrap_or(1))
    }

    /// Adds a stream with its partitions, or gives the one with that number its new definition.
    pub(crate) fn define(&self, stream: Stream, partitions: impl FnOnce(&Stream) -> Vec<Arc<Partition>>) {
        let id = stream.id();
        let entry = match self.entry(id) {
            Some(entry) => entry.redefined(stream),
            None => {
                let partitions = partitions(&stream);
                StreamEntry::new(stream, partitions)
            }
        };
        let mut state = self.state.write();
        state.by_name.insert(entry.stream.name().to_owned(), id);
        state.by_id.insert(id, Arc::new(entry));
    }
}

/// Checks what holds for every stream that was ever created: its name can be a folder's, and it has partitions.
pub(crate) fn check_place(spec: &StreamSpec) -> Result<()> {
    let invalid = |what: String| Err(Error::InvalidStream { name: spec.name.clone(), what });
    let name = spec.name.as_str();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.starts_with('.') || !name.chars().all(allowed) {
        return invalid(format!(
            "expected a name of 1 to {MAX_NAME_BYTES} ASCII letters, digits, `_`, `-` and `.`, not beginning with `.`"
        ));
    }
    if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
        return invalid(format!("expected 1 to {MAX_PARTITIONS} partitions, found {}", spec.partitions));
    }
    Ok(())
}

/// Checks what a new stream is asked to be.
pub(crate) fn check_spec(spec: &StreamSpec) -> Result<()> {
    check_place(spec)?;
    let invalid = |what: String| Err(Error::InvalidStream { name: spec.name.clone(), what });
    if spec.schema.fields().is_empty() {
        return invalid("expected at least one column".to_owned());
    }
    for key in &spec.partition_key {
        if spec.schema.index_of(key).is_err() {
            return invalid(format!("partition key {key:?} is not a column"));
        }
    }
    for field in spec.schema.fields() {
        if spec.schema.fields().iter().filter(|other| other.name() == field.name()).count() > 1 {
            return invalid(format!("two columns have the name {:?}", field.name()));
        }
        if is_unsupported(field.data_type()) {
            return invalid(format!("column {:?}: expected plain values, found {}", field.name(), field.data_type()));
        }
    }
    let stored = decode_schema(&Buffer::from_vec(encode_schema(&spec.schema)));
    if stored.ok().as_ref() != Some(spec.schema.as_ref()) {
        // Such as a time zone without a name: the stream would be another one after a restart.
        return invalid("its schema would not be read back as it is".to_owned());
    }
    segment::check_schema(&spec.schema).or_else(|error| invalid(format!("its rows cannot be stored: {error}")))
}

/// Dictionaries would tie a batch to the batches before it; intervals of three parts cannot be written to Parquet, which
/// says so only when it meets one.
fn is_unsupported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) | DataType::Interval(IntervalUnit::MonthDayNano) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => is_unsupported(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_unsupported(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| is_unsupported(field.data_type())),
        _ => false,
    }
}

/// Checks that an existing stream is what the caller asks for, or that its columns may become that; retention may differ.
pub(crate) fn check_existing(existing: &StreamSpec, asked: &StreamSpec) -> Result<()> {
    let mismatch = |what, expected: String, found: String| {
        Err(Error::StreamMismatch { name: asked.name.clone(), what, expected, found })
    };
    if existing.partitions != asked.partitions {
        return mismatch("number of partitions", asked.partitions.to_string(), existing.partitions.to_string());
    }
    if existing.partition_key != asked.partition_key {
        return mismatch("partition key", asked.partition_key.join(", "), existing.partition_key.join(", "));
    }
    if existing.schema == asked.schema {
        return Ok(());
    }
    check_spec(asked)?;
    evolution::check(&asked.name, &asked.partition_key, &existing.schema, &asked.schema)
}

/// A schema on one line: `name type [not null], …`.
pub(crate) fn describe(schema: &arrow::datatypes::Schema) -> String {
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let not_null = if field.is_nullable() { "" } else { " not null" };
        format!("{} {}{not_null}", field.name(), field.data_type())
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}
