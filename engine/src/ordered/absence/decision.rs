//! What cannot be known of the rows alone: which keys a table expects, that the engine was down, how long the clock has
//! seen nothing come. Each is made at a place in the sequence of rows, is stored with what it leads to, and holds
//! there again in a replay.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::snapshot::{Format, Mismatch, append_table, take_table};

const FORMAT: Format = Format { magic: b"TCABSE", oldest: 1, version: 1 };

/// A decision.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// Its number: later ones have higher numbers.
    pub(crate) number: u64,
    /// It was made when all rows before this time had come, and none after.
    pub(crate) at_us: i64,
    pub(crate) what: Decided,
}

/// What was decided.
#[derive(Debug, Clone)]
pub(crate) enum Decided {
    /// These keys are watched from now on, and no others; those that are new are silent since then, or since event time
    /// began.
    Expect { rows: RecordBatch, since_us: Option<i64> },
    /// Event time began here.
    Begin { us: i64 },
    /// The engine was down after the rows before this time had come.
    Down { from_us: i64 },
    /// The first row after the engine was down has this time.
    Up { us: i64 },
    /// Nothing has come, and time has got so far meanwhile.
    Silent { now_us: i64 },
}

#[derive(Serialize, Deserialize)]
struct Header {
    number: u64,
    at_us: i64,
    what: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Expect { since_us: Option<i64>, bytes: usize },
    Begin { us: i64 },
    Down { from_us: i64 },
    Up { us: i64 },
    Silent { now_us: i64 },
}

impl Decision {
    /// As it is stored.
    pub(crate) fn encode(&self) -> crate::Result<Vec<u8>> {
        let mut body = Vec::new();
        let what = match &self.what {
            Decided::Expect { rows, since_us } => {
                Kind::Expect { since_us: *since_us, bytes: append_table(rows, &mut body)? }
            }
            Decided::Begin { us } => Kind::Begin { us: *us },
            Decided::Down { from_us } => Kind::Down { from_us: *from_us },
            Decided::Up { us } => Kind::Up { us: *us },
            Decided::Silent { now_us } => Kind::Silent { now_us: *now_us },
        };
        Ok(FORMAT.encode(&Header { number: self.number, at_us: self.at_us, what }, &body))
    }

    /// Reads what [`encode`](Self::encode) made; `schema`: the columns of expected rows.
    pub(crate) fn decode(bytes: &[u8], schema: &SchemaRef) -> Result<Self, Mismatch> {
        let (Header { number, at_us, what }, mut body): (Header, _) = FORMAT.decode(bytes)?;
        let what = match what {
            Kind::Expect { since_us, bytes } => {
                let rows = take_table(&mut body, bytes, schema)?;
                let other = || ("rows with the columns of the query".to_owned(), "other columns".to_owned());
                Decided::Expect { rows: rows.ok_or_else(other)?, since_us }
            }
            Kind::Begin { us } => Decided::Begin { us },
            Kind::Down { from_us } => Decided::Down { from_us },
            Kind::Up { us } => Decided::Up { us },
            Kind::Silent { now_us } => Decided::Silent { now_us },
        };
        Ok(Self { number, at_us, what })
    }
}
