//! The streams that rows can be sent to now, by name; shared by all doors and connectors.

use std::sync::Arc;

use dashmap::DashMap;

use crate::input::{OpenStream, StreamInput};

/// Streams by name; cheap to clone, every clone is the same registry.
#[derive(Debug, Clone, Default)]
pub struct StreamRegistry {
    streams: Arc<DashMap<String, Arc<OpenStream>>>,
}

impl StreamRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the doors to a stream; replaces an earlier registration of the same name.
    pub fn register(&self, input: StreamInput) {
        self.streams.insert(input.stream.name().to_owned(), Arc::new(OpenStream::new(input)));
    }

    /// Closes the doors to a stream; rows already being read still go in.
    pub fn unregister(&self, name: &str) {
        self.streams.remove(name);
    }

    /// The stream of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<OpenStream>> {
        self.streams.get(name).map(|entry| Arc::clone(entry.value()))
    }

    /// All streams, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<OpenStream>> {
        let mut all: Vec<_> = self.streams.iter().map(|entry| Arc::clone(entry.value())).collect();
        all.sort_by(|a, b| a.input.stream.name().cmp(b.input.stream.name()));
        all
    }

    /// Names close to `name`, the closest first; at most three.
    #[must_use]
    pub fn suggestions(&self, name: &str) -> Vec<String> {
        let names = self.all().into_iter().map(|open| open.input.stream.name().to_owned());
        closest(name, names)
    }
}

/// Those of `candidates` that a person may have meant by `name`, the closest first; at most three.
pub(crate) fn closest(name: &str, candidates: impl IntoIterator<Item = String>) -> Vec<String> {
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, String)> = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}
