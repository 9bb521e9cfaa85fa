//! Reads a body of rows. NDJSON, the usual format, is decoded while it comes in, so that its bytes are neither collected
//! nor read a second time from memory; everything else is read whole and then decoded.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;

use super::answer::ApiError;
use super::body::{Pieces, ReadBody, is_gzip, read_body, read_pieces};
use super::budget::Reservation;
use super::idempotency::Fingerprint;
use super::state::HttpState;
use crate::decode::{Decoded, Format, NdjsonStream, RowShape, decode_body};
use crate::error::Error;

/// A body of rows, read to its end; holds its share of the bytes in flight.
pub(crate) enum RowsBody {
    /// Not decoded yet.
    Whole(Format, ReadBody),
    /// Decoded while it came in.
    Decoded { rows: Box<Decoded>, fingerprint: Fingerprint, _reservation: Reservation },
}

impl RowsBody {
    /// Reads the body; its fingerprint is wanted where `has_key`.
    pub(crate) async fn read(
        state: &HttpState,
        headers: &HeaderMap,
        body: Body,
        format: Format,
        shape: &Arc<RowShape>,
        has_key: bool,
    ) -> Result<Self, ApiError> {
        if format != Format::Ndjson || is_gzip(headers)? {
            return Ok(Self::Whole(format, read_body(state, headers, body).await?));
        }
        let decode = async |pieces: &mut Pieces<'_>| {
            let mut rows = NdjsonStream::new(shape, pieces.declared_bytes());
            let mut fingerprint = Fingerprint::default();
            while let Some(piece) = pieces.next().await? {
                if has_key {
                    fingerprint.add(&piece);
                }
                rows.push(&piece, state.clock.now_us())?;
            }
            Ok((rows.finish(state.clock.now_us())?, fingerprint))
        };
        let ((rows, fingerprint), reservation) = read_pieces(state, headers, body, decode).await?;
        Ok(Self::Decoded { rows: Box::new(rows), fingerprint, _reservation: reservation })
    }

    /// What tells the body from another.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Whole(_, body) => Fingerprint::of(&body.bytes),
            Self::Decoded { fingerprint, .. } => *fingerprint,
        }
    }

    /// The rows, taken out.
    ///
    /// # Errors
    /// The body as a whole cannot be read.
    pub(crate) async fn decode(
        &mut self,
        state: &HttpState,
        shape: &Arc<RowShape>,
        now_us: i64,
    ) -> Result<Decoded, Error> {
        let options = &state.options;
        match self {
            Self::Whole(format, body) => {
                let bytes = body.bytes.clone();
                decode_body(*format, shape, bytes, options.max_body_bytes, now_us, options.decode_threads).await
            }
            Self::Decoded { rows, .. } => Ok(std::mem::take(rows)),
        }
    }
}
