//! From decoded rows to the log: the good rows to their stream, the others to `rejected.<stream>`, in one commit.

use arrow::array::RecordBatch;
use thermocline_log::Commit;

use crate::decode::{Decoded, Reason};
use crate::error::{Error, Result};
use crate::input::OpenStream;
use crate::metadata::{Arrival, with_metadata};
use crate::metrics;

/// Rows ready to be committed, as often as it takes.
#[derive(Debug)]
pub(crate) struct Append {
    rows: Vec<RecordBatch>,
    rejected: Option<RecordBatch>,
    pub(crate) accepted: u64,
    pub(crate) rejected_rows: u64,
    /// Why the first rows were rejected.
    pub(crate) reasons: Vec<Reason>,
    unknown_fields: u64,
}

impl Append {
    /// Prepares what a body or a part of a file held. `source` names the door for people who read the rejected rows.
    ///
    /// # Errors
    /// Only when Arrow refuses the rejected rows or the metadata, which have their schema's types.
    pub(crate) fn new(decoded: Decoded, open: &OpenStream, source: &str, arrival: &Arrival<'_>) -> Result<Self> {
        let (accepted, rejected_rows) = (decoded.accepted(), decoded.rejected.len() as u64);
        let reasons = decoded.rejected.first().to_vec();
        let rejected = match rejected_rows {
            0 => None,
            _ => Some(decoded.rejected.into_batch(arrival.at_us, source)?),
        };
        Ok(Self {
            rows: filled(decoded.rows, open, arrival)?,
            rejected,
            accepted,
            rejected_rows,
            reasons,
            unknown_fields: decoded.unknown_fields,
        })
    }

    /// Rows that are good as they are, but for their metadata.
    ///
    /// # Errors
    /// Only when Arrow refuses the metadata, which has the stream's types.
    pub(crate) fn of_rows(rows: RecordBatch, open: &OpenStream, arrival: &Arrival<'_>) -> Result<Self> {
        let accepted = rows.num_rows() as u64;
        let rows = filled(vec![rows], open, arrival)?;
        Ok(Self { rows, rejected: None, accepted, rejected_rows: 0, reasons: Vec::new(), unknown_fields: 0 })
    }

    /// Adds the rows to a commit; they are shared, not copied.
    pub(crate) fn add_to(&self, commit: &mut Commit, open: &OpenStream) {
        for rows in &self.rows {
            commit.append(open.input.stream.id(), rows.clone());
        }
        if let Some(rejected) = &self.rejected {
            commit.append(open.input.rejected.id(), rejected.clone());
        }
    }

    /// Counts the rows; to be called once they are durable.
    pub(crate) fn count(&self, open: &OpenStream, source: &'static str) {
        let stream = open.input.stream.name();
        metrics::rows(stream, source, self.accepted);
        metrics::rejected_rows(stream, source, self.rejected_rows);
        metrics::unknown_fields(stream, self.unknown_fields);
    }
}

/// Rows with all columns of the stream.
fn filled(rows: Vec<RecordBatch>, open: &OpenStream, arrival: &Arrival<'_>) -> Result<Vec<RecordBatch>> {
    let OpenStream { input, .. } = open;
    if input.metadata.is_empty() {
        return Ok(rows);
    }
    rows.iter().map(|rows| with_metadata(rows, input.stream.schema(), &input.metadata, arrival)).collect()
}

/// Refuses a body with more malformed rows than are worth keeping one by one.
///
/// # Errors
/// [`Error::TooManyRejected`]; nothing was stored.
pub(crate) fn check_rejected(decoded: &Decoded, limit: usize) -> Result<()> {
    match decoded.rejected.first() {
        [first, ..] if decoded.rejected.len() > limit => {
            Err(Error::TooManyRejected { limit, line: first.line, reason: first.reason.clone() })
        }
        _ => Ok(()),
    }
}
