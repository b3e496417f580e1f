//! What goes wrong with the claims log.

use claims::{LogError, WireError};

/// Why the claims log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsLogError {
    /// JetStream gave no answer, or an error.
    #[error("JetStream cannot {action} of the claims log {stream}: {source}")]
    Api {
        /// What was asked.
        action: &'static str,
        /// The log's stream.
        stream: String,
        /// What it answered.
        source: async_nats::Error,
    },
    /// The stream has another configuration.
    #[error(
        "stream {stream} has {key} {found} and a claims log needs {wanted}; set it with `nats stream edit {stream}`"
    )]
    Config {
        /// The log's stream.
        stream: String,
        /// The setting of the stream.
        key: &'static str,
        /// Its value.
        found: String,
        /// The value that it must have.
        wanted: &'static str,
    },
    /// The stream has no snapshot to begin with.
    #[error("the claims log {stream} has no first snapshot")]
    Empty {
        /// The log's stream.
        stream: String,
    },
    /// The stream does not begin with a snapshot: it was removed and created again.
    #[error(
        "the claims log {stream} does not begin with a snapshot: it was removed, and another process has written to it since"
    )]
    Headless {
        /// The log's stream.
        stream: String,
    },
    /// A record cannot be read.
    #[error("record {seq} of the claims log {stream}: {source}")]
    Record {
        /// The log's stream.
        stream: String,
        /// The record's place.
        seq: u64,
        /// What is wrong with it.
        source: WireError,
    },
    /// The log is not the one that was read before.
    #[error("claims log {stream}: {source}")]
    Lost {
        /// The log's stream.
        stream: String,
        /// What was found.
        source: LogError,
    },
    /// The stream, the table or the dead letters cannot be asked.
    #[error("the claims log {stream} cannot be checked: {source}")]
    Holdings {
        /// The log's stream.
        stream: String,
        /// Why.
        source: crate::HoldingsError,
    },
    /// A message is missing between the records.
    #[error(
        "the claims log {stream} was recreated or purged behind {seq}, which was read before; was it restored, or removed by hand?"
    )]
    Missing {
        /// The log's stream.
        stream: String,
        /// The last record that was read.
        seq: u64,
    },
}

impl ClaimsLogError {
    /// Reports whether the log lost records: nothing may be published or sent before
    /// [`crate::rebuild`], and after it by another publisher.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::Missing { .. } | Self::Headless { .. } | Self::Empty { .. }
        )
    }

    /// Reports whether another process has rebuilt the log: it is read again by another publisher.
    pub fn is_renewed(&self) -> bool {
        let Self::Lost { source, .. } = self else {
            return false;
        };
        matches!(source, LogError::Renewed { .. })
    }
}
