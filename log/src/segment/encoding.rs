//! What the `parquet` crate writes segments with: what holds for the file, and for the columns that `column` leaves to it.

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::column::Compressor;

pub(super) fn properties() -> WriterProperties {
    let zstd = ZstdLevel::try_new(Compressor::LEVEL).expect("it is a zstd level");
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(true)
        .build()
}
