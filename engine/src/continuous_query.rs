//! A continuous query of a pipeline: what it reads, writes and is called.

use thermocline_sql::{AlertDef, Emit, Pipeline, QueryDef, QueryShape, Target};

use crate::per_key::Lateness;
use crate::query::PerKeyShape;

/// A continuous query of a pipeline: an `INSERT INTO` or an alert.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ContinuousQuery<'a> {
    Insert(&'a QueryDef),
    Alert(&'a AlertDef),
}

impl<'a> ContinuousQuery<'a> {
    pub(crate) fn all(pipeline: &'a Pipeline) -> Vec<Self> {
        let inserts = pipeline.queries.iter().map(Self::Insert);
        inserts.chain(pipeline.alerts.values().map(Self::Alert)).collect()
    }

    /// Its name; an alert and an insert may be called the same.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Insert(query) => query.name.clone(),
            Self::Alert(alert) => format!("alert.{}", alert.name),
        }
    }

    pub(crate) fn sql(&self) -> &'a str {
        match self {
            Self::Insert(query) => &query.sql,
            Self::Alert(alert) => &alert.sql,
        }
    }

    pub(crate) fn shape(&self) -> &'a QueryShape {
        match self {
            Self::Insert(query) => &query.shape,
            Self::Alert(alert) => &alert.shape,
        }
    }

    /// When it emits.
    pub(crate) fn emit(&self) -> Emit {
        match self {
            Self::Insert(query) => query.emit,
            Self::Alert(alert) => alert.emit,
        }
    }

    /// The streams it reads.
    pub(crate) fn reads(&self) -> Vec<&'a str> {
        self.shape().streams()
    }

    /// What it does by key, where the watermark of its stream is kept per key.
    pub(crate) fn per_key(&self, pipeline: &Pipeline) -> Option<PerKeyShape<'a>> {
        let is_per_key = |name: &str| {
            let event_time = pipeline.streams.get(name).and_then(|stream| stream.event_time.as_ref());
            event_time.is_some_and(|event_time| !event_time.key.is_empty())
        };
        let shape = self.shape();
        let any = shape.streams().into_iter().any(is_per_key);
        // What raises an alert must not depend on when rows arrive: it is told of the last result of a window.
        let lateness = Lateness { us: self.emit().lateness_us, last_only: matches!(self, Self::Alert(_)) };
        any.then(|| PerKeyShape::of(shape, lateness)).flatten()
    }

    /// The stream or view it writes that other queries may read, if any.
    pub(crate) fn writes(&self) -> Option<&'a str> {
        match self {
            Self::Insert(QueryDef { target: Target::Stream(into) | Target::View(into), .. }) => Some(into),
            _ => None,
        }
    }

    /// The sink that its rows or events go to, if any.
    pub(crate) fn sink(&self) -> Option<&'a str> {
        match self {
            Self::Insert(QueryDef { target: Target::Sink(sink), .. }) => Some(sink),
            Self::Insert(_) => None,
            Self::Alert(alert) => Some(&alert.sink),
        }
    }

    /// Whether a sink reads the query's stream itself and runs the query as it reads.
    pub(crate) fn runs_in_sink(&self) -> bool {
        matches!((self, self.shape()), (Self::Insert(_), QueryShape::Stateless { .. })) && self.writes().is_none()
    }

    /// The stream that its rows or events go to.
    pub(crate) fn output_stream(&self) -> String {
        match self {
            Self::Insert(QueryDef { target: Target::Stream(into) | Target::View(into), .. }) => into.clone(),
            Self::Insert(query) => format!("out.{}", query.name),
            Self::Alert(alert) => format!("alerts.{}", alert.name),
        }
    }
}
