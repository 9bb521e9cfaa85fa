//! A stream's definition: name, schema, partitions, key and retention.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

/// Version of the schema that a stream is created with.
pub(crate) const FIRST_SCHEMA_VERSION: u32 = 1;

/// Number of a stream in its log; assigned at creation, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// How long rows are kept. Unlimited where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Rows older than this (by the time they were appended) may go once every registered cursor has passed them.
    pub max_age: Option<Duration>,
    /// The oldest rows go, cursors or not, once the stream's segments hold more bytes than this.
    pub max_bytes: Option<u64>,
}

/// What a stream is asked to be.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSpec {
    /// Unique name; ASCII letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Columns of every row.
    pub schema: SchemaRef,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Columns hashed (Kafka's murmur2) to place a row; empty places whole batches round-robin.
    pub partition_key: Vec<String>,
    /// How long rows are kept.
    pub retention: Retention,
}

impl StreamSpec {
    /// A stream of one partition without a key, kept for ever.
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        Self { name: name.into(), schema, partitions: 1, partition_key: Vec::new(), retention: Retention::default() }
    }
}

/// A stream of an open log, as it was defined when this was handed out; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stream {
    pub(crate) id: StreamId,
    pub(crate) spec: Arc<StreamSpec>,
    /// Every schema it has had, by version, the first first; the last is the spec's.
    schemas: Arc<[SchemaRef]>,
}

impl Stream {
    /// A stream with its first schema.
    pub(crate) fn new(id: StreamId, spec: StreamSpec) -> Self {
        let schemas = Arc::new([Arc::clone(&spec.schema)]);
        Self { id, spec: Arc::new(spec), schemas }
    }

    /// The same stream with another definition, whose schema is version `schema_version`: a known one or the next.
    ///
    /// # Errors
    /// What was expected and found, when the version is none of these or known with another schema.
    pub(crate) fn redefined(&self, mut spec: StreamSpec, schema_version: u32) -> Result<Self, String> {
        let newest = self.schema_version();
        let mut schemas = Arc::clone(&self.schemas);
        match self.schema_of(schema_version) {
            Some(known) if *known == spec.schema => spec.schema = Arc::clone(known),
            Some(_) => {
                return Err(format!(
                    "stream {:?}: schema version {schema_version} is known with other columns",
                    spec.name
                ));
            }
            None if schema_version == newest + 1 => {
                schemas = schemas.iter().chain([&spec.schema]).cloned().collect();
            }
            None => {
                let next = newest + 1;
                return Err(format!("stream {:?}: expected schema version {next}, found {schema_version}", spec.name));
            }
        }
        Ok(Self { id: self.id, spec: Arc::new(spec), schemas })
    }

    /// The schema of that version.
    pub(crate) fn schema_of(&self, version: u32) -> Option<&SchemaRef> {
        self.schemas.get(usize::try_from(version.checked_sub(FIRST_SCHEMA_VERSION)?).ok()?)
    }

    /// Every schema it has had, with its version, oldest first.
    pub(crate) fn schemas(&self) -> impl DoubleEndedIterator<Item = (u32, &SchemaRef)> + ExactSizeIterator {
        self.schemas.iter().enumerate().map(|(index, schema)| (version_at(index), schema))
    }

    /// The stream's number.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The columns of every row.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.spec.schema
    }

    /// Version of the schema: 1 when the stream was created, one more for every change of its columns since.
    #[must_use]
    pub fn schema_version(&self) -> u32 {
        version_at(self.schemas.len() - 1)
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.spec.partitions
    }

    /// The whole definition.
    #[must_use]
    pub fn spec(&self) -> &StreamSpec {
        &self.spec
    }
}

/// The version of the schema at `index`.
fn version_at(index: usize) -> u32 {
    FIRST_SCHEMA_VERSION + u32::try_from(index).expect("schema versions are counted in u32")
}
