//! Rows survive in whatever row groups they come to lie.

use arrow::compute::concat_batches;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::row_groups::RowGroups;
use crate::arbitrary::any_batches;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_survive_in_groups_of_any_size(batches in any_batches(), max_rows in 1_usize..40) {
        let schema = batches[0].schema();
        let all = concat_batches(&schema, &batches).unwrap();
        let mut writer = RowGroups::new(Vec::new(), schema.clone());
        writer.max_rows = max_rows;
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        let file = Bytes::from(writer.finish().unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        prop_assert_eq!(reader.metadata().num_row_groups(), all.num_rows().div_ceil(max_rows));
        let found: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(concat_batches(&schema, &found).unwrap(), all);
    }
}
