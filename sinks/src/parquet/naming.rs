//! Names of files: `<sink>.<feed>.<partition>.<start>-<end>.<deployment>.parquet`, offsets of 20 digits, the end not
//! included, the deployment as 8 hexadecimal digits. From a name one can tell which offsets of what it holds.

use sha2::{Digest, Sha256};

use crate::columnar::path_safe;
use crate::sink::{Delivery, FeedId};

/// Names the files of one sink.
#[derive(Debug)]
pub(super) struct Naming {
    sink: String,
    deployment: String,
}

impl Naming {
    pub(super) fn new(sink: &str, deployment: &str) -> Self {
        let hash = Sha256::digest(deployment.as_bytes());
        let deployment = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { sink: path_safe(sink), deployment }
    }

    /// The file of a delivery.
    pub(super) fn file(&self, delivery: &Delivery) -> String {
        let Self { deployment, .. } = self;
        format!(
            "{}-{:020}.{deployment}.parquet",
            self.beginning(&delivery.feed, delivery.start_offset),
            delivery.end_offset
        )
    }

    /// Whether a file of another length begins where this delivery does: left by a delivery that was interrupted.
    pub(super) fn is_leftover(&self, file: &str, delivery: &Delivery) -> bool {
        let beginning = format!("{}-", self.beginning(&delivery.feed, delivery.start_offset));
        let end = format!(".{}.parquet", self.deployment);
        file != self.file(delivery) && file.starts_with(&beginning) && file.ends_with(&end)
    }

    fn beginning(&self, feed: &FeedId, start_offset: u64) -> String {
        format!("{}.{}.{}.{start_offset:020}", self.sink, path_safe(&feed.name), feed.partition)
    }
}
