//! The instances of an alert that are not idle, one per key: in memory, and as values in the log. A state is stored with
//! the events it made, only when it changes, so that a restart neither raises again nor forgets to resolve.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thermocline_log::{Commit, Log};

use crate::error::{Error, Result};

/// State of an instance that is not idle; idle instances are not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Instance {
    /// The raise condition has held since this event time.
    Pending { since_us: i64 },
    /// Triggered.
    Raised,
    /// Resolved at this event time; kept where rows may still be corrected, so that what was raised is not raised again.
    Cleared { at_us: i64 },
}

/// Instances by their identity.
#[derive(Debug)]
pub(super) struct Instances {
    prefix: String,
    by_id: HashMap<String, Instance>,
}

impl Instances {
    /// Loads what is stored of an alert.
    pub(super) fn load(alert: &str, log: &Log) -> Result<Self> {
        let prefix = format!("alert/{alert}/");
        let mut by_id = HashMap::new();
        for (name, value) in log.values(&prefix) {
            let instance = serde_json::from_slice(&value).map_err(|e| Error::State {
                name: name.clone(),
                expected: "an alert's state".into(),
                found: e.to_string(),
            })?;
            by_id.insert(name[prefix.len()..].to_owned(), instance);
        }
        Ok(Self { prefix, by_id })
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        // Their names have one length.
        let name = self.by_id.keys().next().map_or(0, String::len);
        self.by_id.capacity() * size_of::<(String, Instance)>() + self.by_id.len() * name
    }

    pub(super) fn get(&self, id: &str) -> Option<Instance> {
        self.by_id.get(id).copied()
    }

    /// Changes an instance; stores it where that is a change.
    pub(super) fn set(&mut self, id: &str, instance: Option<Instance>, commit: &mut Commit) {
        if self.get(id) == instance {
            return;
        }
        let name = format!("{}{id}", self.prefix);
        match instance {
            Some(instance) => {
                commit.put(name, serde_json::to_vec(&instance).expect("a state always serialises"));
                self.by_id.insert(id.to_owned(), instance);
            }
            None => {
                commit.delete(name);
                self.by_id.remove(id);
            }
        }
    }

    /// How many are raised.
    pub(super) fn raised(&self) -> usize {
        self.by_id.values().filter(|instance| **instance == Instance::Raised).count()
    }
}
