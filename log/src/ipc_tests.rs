//! Any batch survives, also as a part of a larger one; bytes that are no batch are refused.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::any_batch;

fn decode(message: &[u8], body: &[u8], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    decode_batch(&Buffer::from_slice_ref(message), &Buffer::from_slice_ref(body), schema)
}

proptest! {
    #[test]
    fn batches_round_trip(batch in any_batch()) {
        let encoded = encode_batch(&batch).unwrap();
        prop_assert!(encoded.message.len().is_multiple_of(ALIGNMENT) && encoded.body.len().is_multiple_of(ALIGNMENT));
        let crc = crc32c::crc32c(&[encoded.message.as_slice(), &encoded.body].concat());
        prop_assert_eq!(encoded.crc, crc);
        let found = decode(&encoded.message, &encoded.body, &batch.schema()).unwrap();
        prop_assert_eq!(found, batch);
    }

    #[test]
    fn schemas_round_trip(batch in any_batch()) {
        let (schema, message) = (batch.schema(), encode_schema(&batch.schema()));
        prop_assert_eq!(&decode_schema(&Buffer::from_slice_ref(&message)).unwrap(), schema.as_ref());
    }

    #[test]
    fn a_body_cut_short_is_refused_or_was_padding(batch in any_batch(), keep in 0.0..1.0_f64) {
        let encoded = encode_batch(&batch).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let keep = (encoded.body.len() as f64 * keep) as usize;
        if let Ok(found) = decode(&encoded.message, &encoded.body[..keep], &batch.schema()) {
            prop_assert_eq!(found, batch);
        }
    }

    #[test]
    fn changed_bytes_never_panic(batch in any_batch(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let encoded = encode_batch(&batch).unwrap();
        let mut bytes = [encoded.message.as_slice(), &encoded.body].concat();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (message, body) = bytes.split_at(encoded.message.len());
        if let Ok(found) = decode(message, body, &batch.schema()) {
            for column in found.columns() {
                prop_assert!(arrow::array::Array::to_data(column).validate_full().is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_are_refused(message in prop::collection::vec(any::<u8>(), 0..200), batch in any_batch()) {
        prop_assert!(decode(&message, &[], &batch.schema()).is_err());
        prop_assert!(decode_schema(&Buffer::from_slice_ref(&message)).is_err());
    }
}
