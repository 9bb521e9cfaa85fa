//! Reads a request's body: bounded in size, time and together with all other bodies; gzip undone.

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
    let is_gzip = content_encoding(headers)?;
    let deadline = Instant::now() + state.options.body_timeout;
    let mut chunks = body.into_data_stream();
    let mut reservation = state.budget.reserve();
    let read = match declared_length(state, headers, &mut reservation) {
        Ok(declared) => read_chunks(state, &mut chunks, declared, deadline, &mut reservation).await,
        Err(error) => Err(error.into()),
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            drop(reservation);
            drain(state, chunks, deadline).await;
            return Err(error);
        }
    };
    metrics::bytes("http", bytes.len() as u64);
    if is_gzip {
        let (bytes, reservation) = decompress(state, bytes, reservation).await?;
        return Ok(ReadBody { bytes, _reservation: reservation });
    }
    Ok(ReadBody { bytes, _reservation: reservation })
}

/// Reserves what the client says it will send; that many bytes.
fn declared_length(state: &HttpState, headers: &HeaderMap, reservation: &mut Reservation) -> Result<u64, Error> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    if declared > state.options.max_body_bytes {
        return Err(Error::TooLarge { limit_bytes: state.options.max_body_bytes });
    }
    reservation.grow(declared)?;
    Ok(declared)
}

async fn read_chunks(
    state: &HttpState,
    chunks: &mut BodyDataStream,
    declared: u64,
    deadline: Instant,
    reservation: &mut Reservation,
) -> Result<Bytes, ApiError> {
    let slow =
        |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time, nothing of it was stored");
    let next = async |chunks: &mut BodyDataStream| {
        let limit = deadline.min(Instant::now() + state.options.idle_timeout);
        timeout_at(limit, chunks.next()).await.map_err(slow)
    };
    let broken = |error: axum::Error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"));
    let Some(first) = next(chunks).await?.transpose().map_err(broken)? else { return Ok(Bytes::new()) };
    // One chunk is the usual case of a small body: no copy.
    let Some(second) = next(chunks).await?.transpose().map_err(broken)? else {
        reservation.grow((first.len() as u64).saturating_sub(declared))?;
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(usize::try_from(declared).unwrap_or(0));
    whole.extend_from_slice(&first);
    let mut chunk = Some(second);
    let mut reserved = declared;
    while let Some(bytes) = chunk {
        whole.extend_from_slice(&bytes);
        let length = whole.len() as u64;
        if length > state.options.max_body_bytes {
            return Err(Error::TooLarge { limit_bytes: state.options.max_body_bytes }.into());
        }
        if length > reserved {
            // In steps, so that a body in many small chunks does not contend for the counter.
            let step = (length - reserved).max(64 << 10).min(state.options.max_body_bytes - reserved);
            reservation.grow(step)?;
            reserved += step;
        }
        chunk = next(chunks).await?.transpose().map_err(broken)?;
    }
    Ok(whole.freeze())
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
fn content_encoding(headers: &HeaderMap) -> Result<bool, ApiError> {
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
