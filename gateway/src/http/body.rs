//! Reads a request's body, whole or piece by piece: bounded in size, time and together with all other bodies; gzip
//! undone.

use std::io::Read;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::ApiError;
use super::budget::Reservation;
use super::state::HttpState;
use crate::error::Error;
use crate::metrics;

/// After a refusal, this much of the rest of a body is read and dropped: a client that is still sending would see a
/// broken connection and not the answer.
const DRAIN_BYTES: u64 = 16 << 20;
/// Compressed bodies up to this size are decompressed in place.
const IN_PLACE_BYTES: usize = 8 << 10;

/// A body, and its share of the bytes in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _reservation: Reservation,
}

/// Reads and decompresses a whole body.
pub(crate) async fn read_body(state: &HttpState, headers: &HeaderMap, body: Body) -> Result<ReadBody, ApiError> {
    let is_gzip = is_gzip(headers)?;
    let (bytes, reservation) = read_pieces(state, headers, body, async |pieces| pieces.collect().await).await?;
    if is_gzip {
        let (bytes, reservation) = decompress(state, bytes, reservation).await?;
        return Ok(ReadBody { bytes, _reservation: reservation });
    }
    Ok(ReadBody { bytes, _reservation: reservation })
}

/// Has `read` read a body as it comes. Returns what it made of it, and the share of the bytes in flight that the body has
/// until that is dropped.
pub(crate) async fn read_pieces<T>(
    state: &HttpState,
    headers: &HeaderMap,
    body: Body,
    read: impl AsyncFnOnce(&mut Pieces<'_>) -> Result<T, ApiError>,
) -> Result<(T, Reservation), ApiError> {
    let mut pieces = Pieces {
        state,
        chunks: body.into_data_stream(),
        deadline: Instant::now() + state.options.body_timeout,
        reservation: state.budget.reserve(),
        declared: 0,
        reserved: 0,
        received: 0,
    };
    let read = match pieces.reserve_declared(headers) {
        Ok(()) => read(&mut pieces).await,
        Err(error) => Err(error.into()),
    };
    let Pieces { chunks, deadline, reservation, received, .. } = pieces;
    match read {
        Ok(made) => {
            metrics::bytes("http", received);
            Ok((made, reservation))
        }
        Err(error) => {
            drop(reservation);
            drain(state, chunks, deadline).await;
            Err(error)
        }
    }
}

/// A body as it comes, within its bounds.
pub(crate) struct Pieces<'a> {
    state: &'a HttpState,
    chunks: BodyDataStream,
    deadline: Instant,
    reservation: Reservation,
    /// Bytes that the client said it will send; 0 when it did not.
    declared: u64,
    reserved: u64,
    received: u64,
}

impl Pieces<'_> {
    /// Bytes that the client said it will send; 0 when it did not.
    pub(crate) fn declared_bytes(&self) -> usize {
        usize::try_from(self.declared).unwrap_or(0)
    }

    /// The next piece; `None` at the end of the body.
    ///
    /// # Errors
    /// The client is too slow or broke off, or the body is larger than it may be, alone or with all others.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let options = &self.state.options;
        let limit = self.deadline.min(Instant::now() + options.idle_timeout);
        let slow =
            |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time, nothing of it was stored");
        let broken = |error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"));
        let next = timeout_at(limit, self.chunks.next()).await.map_err(slow)?;
        let Some(piece) = next.transpose().map_err(broken)? else { return Ok(None) };
        let is_first = self.received == 0;
        self.received += piece.len() as u64;
        if self.received > options.max_body_bytes {
            return Err(Error::TooLarge { limit_bytes: options.max_body_bytes }.into());
        }
        let missing = self.received.saturating_sub(self.reserved);
        if missing > 0 {
            // After the first piece in steps, so that a body in many small ones does not contend for the counter.
            let step = if is_first { missing } else { missing.max(64 << 10) };
            let step = step.min(options.max_body_bytes - self.reserved);
            self.reservation.grow(step)?;
            self.reserved += step;
        }
        Ok(Some(piece))
    }

    /// Reserves what the client says it will send.
    fn reserve_declared(&mut self, headers: &HeaderMap) -> Result<(), Error> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.declared = length.unwrap_or(0);
        if self.declared > self.state.options.max_body_bytes {
            return Err(Error::TooLarge { limit_bytes: self.state.options.max_body_bytes });
        }
        self.reservation.grow(self.declared)?;
        self.reserved = self.declared;
        Ok(())
    }

    /// All pieces in one.
    async fn collect(&mut self) -> Result<Bytes, ApiError> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        // One piece is the usual case of a small body: no copy.
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(self.declared_bytes());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

async fn drain(state: &HttpState, mut chunks: BodyDataStream, deadline: Instant) {
    let mut left = DRAIN_BYTES;
    while Instant::now() < deadline
        && let Ok(Some(Ok(chunk))) = timeout(state.options.idle_timeout, chunks.next()).await
    {
        match left.checked_sub(chunk.len() as u64) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Whether the body is compressed with gzip.
pub(crate) fn is_gzip(headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(false) };
    match encoding.as_bytes() {
        b"gzip" | b"x-gzip" => Ok(true),
        b"identity" | b"" => Ok(false),
        other => {
            let found = String::from_utf8_lossy(other).into_owned();
            let message = format!("expected the content encoding gzip or identity, found {found:?}");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

async fn decompress(
    state: &HttpState,
    bytes: Bytes,
    reservation: Reservation,
) -> Result<(Bytes, Reservation), ApiError> {
    let limit_bytes = state.options.max_body_bytes;
    if bytes.len() <= IN_PLACE_BYTES {
        return gunzip(&bytes, limit_bytes, reservation);
    }
    let work = tokio::task::spawn_blocking(move || gunzip(&bytes, limit_bytes, reservation));
    work.await.map_err(Error::Worker)?
}

fn gunzip(bytes: &[u8], limit_bytes: u64, mut reservation: Reservation) -> Result<(Bytes, Reservation), ApiError> {
    const STEP_BYTES: u64 = 256 << 10;
    let mut decoder = MultiGzDecoder::new(bytes);
    let mut plain = Vec::new();
    loop {
        let read = decoder.by_ref().take(STEP_BYTES).read_to_end(&mut plain).map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not gzip: {error}"))
                .hint("send it without content-encoding, or compress it")
        })?;
        if plain.len() as u64 > limit_bytes {
            return Err(Error::TooLarge { limit_bytes }.into());
        }
        reservation.grow(read as u64)?;
        if read == 0 {
            return Ok((plain.into(), reservation));
        }
    }
}
