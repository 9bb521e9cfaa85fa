//! Reads a segment from an offset on, with the columns asked for.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use crate::adapt::{Adapter, projected};
use crate::condition::RowCondition;
use crate::contain::contained;
use crate::error::{Error, Result, corrupt};
use crate::evolution::widens;
use crate::partition::SelectedRows;
use crate::segment::Segment;
use crate::segment::content::Content;
use crate::segment::selection::Selection;
use crate::stream::Stream;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 16_384;

/// Iterates over the batches of one segment.
pub(crate) struct SegmentReader {
    segment: Arc<Segment>,
    batches: ParquetRecordBatchReader,
    columns: Columns,
    /// Offset of the next row, and of the segment's end.
    position: u64,
    end: u64,
    selection: Option<Selection>,
}

/// What is asked for of a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// Columns, as indices into the stream's schema; all when `None`.
    pub(crate) projection: Option<&'a [usize]>,
    /// Texts among all columns of the stream that may come as dictionaries.
    pub(crate) dictionaries: &'a [usize],
    /// Rows for which it is not true may be left out.
    pub(crate) condition: Option<&'a Arc<dyn RowCondition>>,
}

/// What makes the rows asked for of a decoded batch.
enum Columns {
    /// It has them.
    All,
    /// Its columns of these indices.
    Projected(Vec<usize>),
    /// The segment was written under another schema of the stream.
    Adapted(Adapter),
}

impl SegmentReader {
    /// Opens the segment at `offset`, which lies in it. Its rows get what is wanted of the schema of `stream`.
    pub(crate) fn open(segment: &Arc<Segment>, stream: &Stream, offset: u64, wanted: &Wanted<'_>) -> Result<Self> {
        let failed = |source| Error::Parquet { path: segment.path.clone(), source };
        let mut content = Content::open(segment)?;
        let planned = contained(|| plan(&content, segment, stream, wanted, failed));
        let (found, read, columns) = planned.map_err(|panic| corrupt(&segment.path, 0, panic))??;
        check_rows(segment, found.metadata().row_groups().iter().map(RowGroupMetaData::num_rows))?;
        let mut skip = usize::try_from(offset - segment.name.start).expect("a segment's rows fit the address space");
        let mut row_groups = Vec::new();
        for (index, group) in found.metadata().row_groups().iter().enumerate() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            if row_groups.is_empty() && skip >= rows {
                skip -= rows;
            } else {
                row_groups.push(index);
            }
        }
        let mask = match read {
            None => ProjectionMask::all(),
            Some(read) => ProjectionMask::roots(found.parquet_schema(), read),
        };
        let condition = wanted.condition.filter(|_| !matches!(columns, Columns::Adapted(_)));
        let looked_at = condition
            .map(|condition| ProjectionMask::roots(found.parquet_schema(), condition.columns().iter().copied()));
        let is_read =
            |leaf| mask.leaf_included(leaf) || looked_at.as_ref().is_some_and(|mask| mask.leaf_included(leaf));
        content.read(chunks(segment, found.metadata(), &row_groups, is_read)?)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(content, found);
        let mut builder = builder.with_row_groups(row_groups).with_projection(mask).with_batch_size(BATCH_ROWS);
        let mut selection = None;
        match condition {
            None => builder = builder.with_offset(skip),
            Some(condition) => {
                let (filter, selected) = Selection::of(condition, builder.parquet_schema());
                selection = Some(selected);
                let rows = usize::try_from(segment.name.end - offset).expect("a segment's rows fit the address space");
                let rows = RowSelection::from(vec![RowSelector::skip(skip), RowSelector::select(rows)]);
                builder = builder.with_row_selection(rows).with_row_filter(filter);
            }
        }
        let built = contained(|| builder.build());
        let batches = built.map_err(|panic| corrupt(&segment.path, 0, panic))?.map_err(failed)?;
        Ok(Self { segment: Arc::clone(segment), batches, columns, position: offset, end: segment.name.end, selection })
    }

    /// The next rows with their place; those that a condition leaves out are looked at with those before them. `None` after
    /// the last.
    pub(crate) fn next_selected(&mut self) -> Result<Option<SelectedRows>> {
        let start_offset = self.position;
        let rows = match (self.next()?, &mut self.selection) {
            (Some(batch), None) => SelectedRows::all(start_offset, batch),
            (Some(batch), Some(selection)) => {
                let (rows, selected) = selection.place(batch.num_rows()).ok_or_else(|| {
                    corrupt(&self.segment.path, 0, "more rows than the condition was true for".to_owned())
                })?;
                SelectedRows { start_offset, rows, batch, selected: Some(selected) }
            }
            (None, Some(_)) if start_offset < self.end => {
                let batch = self.columns.of(&RecordBatch::new_empty(self.batches.schema()))?;
                let selected = Some(UInt32Array::from(Vec::<u32>::new()));
                SelectedRows { start_offset, rows: self.end - start_offset, batch, selected }
            }
            (None, _) => return Ok(None),
        };
        self.position = rows.end_offset();
        Ok(Some(rows))
    }

    /// The next rows; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let read = contained(|| self.batches.next()).map_err(|panic| corrupt(&self.segment.path, 0, panic))?;
        let Some(batch) = read else { return Ok(None) };
        let failed = |source| Error::Parquet {
            path: self.segment.path.clone(),
            source: parquet::errors::ParquetError::External(Box::new(source)),
        };
        self.columns.of(&batch.map_err(failed)?).map(Some)
    }
}

impl Columns {
    /// The rows asked for of a decoded batch.
    fn of(&self, decoded: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::All => Ok(decoded.clone()),
            Self::Projected(columns) => Ok(decoded.project(columns)?),
            Self::Adapted(adapter) => adapter.adapt(decoded),
        }
    }
}

/// How the file is decoded, which of its columns are (all when `None`), and what makes the rows asked for of them. A file
/// tells the schema that it was written under.
fn plan(
    content: &Content,
    segment: &Segment,
    stream: &Stream,
    &Wanted { projection, dictionaries, .. }: &Wanted<'_>,
    failed: impl Fn(ParquetError) -> Error,
) -> Result<(ArrowReaderMetadata, Option<Vec<usize>>, Columns)> {
    let found = ArrowReaderMetadata::load(content, ArrowReaderOptions::new()).map_err(&failed)?;
    if found.schema().fields() != stream.schema().fields() {
        check_kin(segment, found.schema(), stream.schema())?;
        let adapter = Adapter::new(stream.name(), found.schema(), &projected(stream.schema(), projection)?)?;
        return Ok((found, Some(adapter.columns_read()), Columns::Adapted(adapter.over_columns_read())));
    }
    let options = ArrowReaderOptions::new().with_schema(with_dictionaries(stream.schema(), dictionaries));
    let found = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options).map_err(&failed)?;
    let Some(projection) = projection else { return Ok((found, None, Columns::All)) };
    let mut read = projection.to_vec();
    read.sort_unstable();
    read.dedup();
    let columns = projection.iter().filter_map(|column| read.binary_search(column).ok()).collect();
    Ok((found, Some(read), Columns::Projected(columns)))
}

/// Where the columns are of these row groups that are read.
fn chunks(
    segment: &Segment,
    metadata: &ParquetMetaData,
    row_groups: &[usize],
    is_read: impl Fn(usize) -> bool,
) -> Result<Vec<Range<u64>>> {
    let columns = row_groups.iter().flat_map(|group| metadata.row_group(*group).columns().iter().enumerate());
    columns.filter(|(leaf, _)| is_read(*leaf)).map(|(_, column)| place(segment, column)).collect()
}

/// Where a column of a row group is in the file, as the footer says.
fn place(segment: &Segment, column: &ColumnChunkMetaData) -> Result<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let bytes = column.compressed_size();
    let end = start.checked_add(bytes).filter(|end| start >= 0 && bytes >= 0 && end.unsigned_abs() <= segment.bytes);
    let Some(end) = end else {
        let (path, file) = (column.column_path(), segment.bytes);
        let what =
            format!("segment column {path}: expected a place within {file} bytes, found {bytes} bytes at {start}");
        return Err(corrupt(&segment.path, 0, what));
    };
    Ok(start.unsigned_abs()..end.unsigned_abs())
}

/// The schema with these columns as dictionaries.
fn with_dictionaries(schema: &SchemaRef, columns: &[usize]) -> SchemaRef {
    if columns.is_empty() {
        return Arc::clone(schema);
    }
    let encoded = |(at, field): (usize, &Arc<Field>)| match columns.contains(&at) {
        false => Arc::clone(field),
        true => {
            let text = Box::new(field.data_type().clone());
            Arc::new(field.as_ref().clone().with_data_type(DataType::Dictionary(Box::new(DataType::Int32), text)))
        }
    };
    Arc::new(Schema::new(schema.fields().iter().enumerate().map(encoded).collect::<Vec<_>>()))
}

/// Columns of an earlier or a later schema of the stream widen one to the other; any other file is none of the stream's.
fn check_kin(segment: &Segment, found: &Schema, expected: &Schema) -> Result<()> {
    for expected in expected.fields() {
        let Ok(found) = found.field_with_name(expected.name()) else { continue };
        let (found, wanted) = (found.data_type(), expected.data_type());
        if found != wanted && !widens(found, wanted) && !widens(wanted, found) {
            let what = format!("segment column {:?}: expected {wanted}, found {found}", expected.name());
            return Err(corrupt(&segment.path, 0, what));
        }
    }
    Ok(())
}

/// A file with other rows than its name promises is not read: its offsets would be guessed.
fn check_rows(segment: &Segment, row_groups: impl Iterator<Item = i64>) -> Result<()> {
    let expected = segment.name.end - segment.name.start;
    let rows = row_groups.map(|rows| u64::try_from(rows).ok()).try_fold(0_u64, |sum, rows| sum.checked_add(rows?));
    if rows == Some(expected) {
        return Ok(());
    }
    Err(corrupt(&segment.path, 0, format!("segment rows: expected {expected}, found {rows:?}")))
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentReader").field("segment", &self.segment.path).finish_non_exhaustive()
    }
}
