//! Writes an encoded column as pages, and says in the metadata what they are.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::{delta, hybrid};

/// Rows of a page.
const PAGE_ROWS: usize = 32 << 10;
/// Bytes that a page of texts has about.
const PAGE_BYTES: usize = 1 << 20;
/// zstd has to save one byte of this many to be worth it, for who writes and who reads.
const MIN_SAVED: usize = 16;

/// zstd as segments use it.
pub(in super::super) struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    pub(in super::super) const LEVEL: i32 = 1;

    pub(in super::super) fn new() -> Result<Self> {
        Ok(Self(zstd::bulk::Compressor::new(Self::LEVEL)?))
    }
}

/// A column chunk, and what the row group has to know of it.
pub(in super::super) struct Chunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

/// Which rows have a value.
pub(super) struct Validity {
    rows: usize,
    pub(super) values: usize,
    /// Of each row 1 or 0; `None` when all have one.
    levels: Option<Vec<u32>>,
}

impl Validity {
    pub(super) fn of(arrays: &[ArrayRef]) -> Self {
        let rows = arrays.iter().map(Array::len).sum();
        let nulls: usize = arrays.iter().map(Array::null_count).sum();
        let levels = (nulls > 0).then(|| {
            let valid = |array: &ArrayRef| -> Vec<u32> {
                match array.nulls() {
                    Some(nulls) => nulls.iter().map(u32::from).collect(),
                    None => vec![1; array.len()],
                }
            };
            arrays.iter().flat_map(valid).collect()
        });
        Self { rows, values: rows - nulls, levels }
    }
}

/// The values of a column that are not NULL, encoded as far as that does not depend on pages.
pub(super) struct Encoded<'a> {
    pub validity: Validity,
    pub values: Values<'a>,
    pub statistics: Statistics,
}

pub(super) enum Values<'a> {
    /// Each an index into a dictionary.
    Indices(Dictionary, Vec<u32>),
    /// Integers, sign-extended if they have a sign; narrow ones are stored in 32 bits.
    Deltas(Vec<u64>, bool),
    /// The bits of floats of so many bytes.
    Split(Vec<u64>, usize),
    Texts(Vec<&'a [u8]>),
}

/// The different values, encoded as `PLAIN`.
pub(super) struct Dictionary {
    pub plain: Vec<u8>,
    pub values: usize,
}

impl Values<'_> {
    fn encoding(&self) -> Encoding {
        match self {
            Self::Indices(..) => Encoding::RLE_DICTIONARY,
            Self::Deltas(..) => Encoding::DELTA_BINARY_PACKED,
            Self::Split(..) => Encoding::BYTE_STREAM_SPLIT,
            Self::Texts(..) => Encoding::PLAIN,
        }
    }

    fn page_rows(&self) -> usize {
        let Self::Texts(texts) = self else { return PAGE_ROWS };
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        (PAGE_BYTES.saturating_mul(texts.len()) / bytes.max(1)).clamp(1, PAGE_ROWS)
    }

    fn encode(&self, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Self::Indices(_, indices) => {
                let indices = &indices[range];
                let width = hybrid::width_of(indices);
                out.push(width as u8);
                hybrid::encode(indices, width, out);
            }
            Self::Deltas(integers, narrow) => delta::encode(&integers[range], *narrow, out),
            Self::Split(floats, bytes) => {
                for byte in 0..*bytes {
                    out.extend(floats[range.clone()].iter().map(|bits| bits.to_le_bytes()[byte]));
                }
            }
            Self::Texts(texts) => texts[range].iter().for_each(|text| plain_text(text, out)),
        }
    }
}

/// Appends a text as `PLAIN` has it.
pub(super) fn plain_text(text: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(text.len()).expect("Arrow's arrays of larger texts are no rows of a stream");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text);
}

impl Encoded<'_> {
    pub(super) fn write(self, descr: &ColumnDescPtr, compressor: &mut Compressor) -> Result<Chunk> {
        let Self { validity, values, statistics } = self;
        let mut pages = Pages::new(compressor);
        if let Values::Indices(dictionary, _) = &values {
            pages.write_dictionary(dictionary)?;
        }
        let page_rows = values.page_rows();
        let mut next_value = 0;
        for from in (0..validity.rows).step_by(page_rows) {
            let rows = from..validity.rows.min(from + page_rows);
            let mut buffer = Vec::new();
            let levels = validity.levels.as_ref().map(|levels| &levels[rows.clone()]);
            let valid = levels.map_or(rows.len(), |levels| levels.iter().map(|level| *level as usize).sum());
            if descr.max_def_level() > 0 {
                match levels {
                    Some(levels) => hybrid::encode(levels, 1, &mut buffer),
                    // One run.
                    None => {
                        hybrid::varint((rows.len() as u64) << 1, &mut buffer);
                        buffer.push(1);
                    }
                }
            }
            let level_bytes = buffer.len();
            values.encode(next_value..next_value + valid, &mut buffer);
            next_value += valid;
            pages.write_data(buffer, level_bytes, rows.len(), valid, values.encoding())?;
        }
        pages.finish(descr, &validity, &values, statistics)
    }
}

struct Pages<'a> {
    compressor: &'a mut Compressor,
    sink: TrackedWrite<Vec<u8>>,
    /// Whether pages of data are compressed: as long as it made those before smaller.
    compress: bool,
    uncompressed_bytes: usize,
    first_data: u64,
    data_pages: i32,
    index: OffsetIndexBuilder,
}

impl<'a> Pages<'a> {
    fn new(compressor: &'a mut Compressor) -> Self {
        Self {
            compressor,
            sink: TrackedWrite::new(Vec::new()),
            compress: true,
            uncompressed_bytes: 0,
            first_data: 0,
            data_pages: 0,
            index: OffsetIndexBuilder::new(),
        }
    }

    fn write(&mut self, page: Page, uncompressed_bytes: usize) -> Result<PageWriteSpec> {
        let page = CompressedPage::new(page, uncompressed_bytes);
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed_bytes += written.uncompressed_size;
        Ok(written)
    }

    fn write_dictionary(&mut self, dictionary: &Dictionary) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.compressor.0.compress(&dictionary.plain)?.into(),
            num_values: number(dictionary.values),
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.write(page, dictionary.plain.len()).map(|_| ())
    }

    /// A page of the second version, the one that may be stored as it is.
    fn write_data(
        &mut self,
        mut buffer: Vec<u8>,
        level_bytes: usize,
        rows: usize,
        valid: usize,
        encoding: Encoding,
    ) -> Result<()> {
        let (uncompressed_bytes, value_bytes) = (buffer.len(), buffer.len() - level_bytes);
        if self.compress {
            let compressed = self.compressor.0.compress(&buffer[level_bytes..])?;
            self.compress = compressed.len() < value_bytes - value_bytes / MIN_SAVED;
            if self.compress {
                buffer.truncate(level_bytes);
                buffer.extend_from_slice(&compressed);
            }
        }
        let page = Page::DataPageV2 {
            buf: buffer.into(),
            num_values: number(rows),
            encoding,
            num_nulls: number(rows - valid),
            num_rows: number(rows),
            def_levels_byte_len: number(level_bytes),
            rep_levels_byte_len: 0,
            is_compressed: self.compress,
            statistics: None,
        };
        let written = self.write(page, uncompressed_bytes)?;
        if self.data_pages == 0 {
            self.first_data = written.offset;
        }
        self.data_pages += 1;
        self.index.append_row_count(signed(rows));
        self.index.append_offset_and_size(
            written.offset.cast_signed(),
            i32::try_from(written.compressed_size).expect("a page has less than 2 GiB"),
        );
        Ok(())
    }

    fn finish(
        self,
        descr: &ColumnDescPtr,
        validity: &Validity,
        values: &Values<'_>,
        statistics: Statistics,
    ) -> Result<Chunk> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let of = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut page_encodings = vec![of(PageType::DATA_PAGE_V2, values.encoding(), self.data_pages)];
        let mut encodings = vec![Encoding::RLE, values.encoding()];
        let has_dictionary = matches!(values, Values::Indices(..));
        if has_dictionary {
            page_encodings.insert(0, of(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
            encodings.push(Encoding::PLAIN);
        }
        let metadata = ColumnChunkMetaData::builder(descr.clone())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(Compressor::LEVEL)?))
            .set_encodings(encodings)
            .set_page_encoding_stats(page_encodings)
            .set_total_compressed_size(signed(bytes.len()))
            .set_total_uncompressed_size(signed(self.uncompressed_bytes))
            .set_num_values(signed(validity.rows))
            .set_data_page_offset(self.first_data.cast_signed())
            .set_dictionary_page_offset(has_dictionary.then_some(0))
            .set_statistics(statistics)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: validity.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(self.index.build()),
        };
        Ok(Chunk { bytes, close })
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a page has less than 4 Gi of everything")
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("sizes fit 63 bits")
}

impl Validity {
    pub(super) fn nulls(&self) -> Option<u64> {
        Some((self.rows - self.values) as u64)
    }
}
