//! Errors of the claims log.

use claims::{LogReadError, WireError};

use crate::public_error::PublicError;

/// Reason for which the claims log is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsLogError {
    /// JetStream gave no answer, or an error. Displayed without the server's words.
    #[error("JetStream cannot {action} of the claims log {stream}: {}", PublicError(&**.answer))]
    Api {
        /// Requested action.
        action: &'static str,
        /// Stream of the log.
        stream: String,
        /// Answer of the server; not a source, so that no chain of causes has the server's words.
        answer: async_nats::Error,
    },
    /// The stream has another configuration.
    #[error(
        "stream {stream} has {key} {found}, but a claims log needs {wanted}; set it with `nats stream edit {stream}`"
    )]
    Config {
        /// Stream of the log.
        stream: String,
        /// Setting of the stream.
        key: &'static str,
        /// Actual value.
        found: String,
        /// Required value.
        wanted: &'static str,
    },
    /// The stream is the log of a table in another ClickHouse.
    #[error(
        "the claims log {stream} belongs to another ClickHouse with a table of this name, and each would get a part of the signals; set another clickhouse.database or clickhouse.table; or, if this ClickHouse replaces that one, stop every daemon and delete the log (`nats stream rm {stream}`)"
    )]
    OtherClickHouse {
        /// Stream of the log.
        stream: String,
    },
    /// The stream has no snapshot to begin with.
    #[error("the claims log {stream} has no first snapshot")]
    Empty {
        /// Stream of the log.
        stream: String,
    },
    /// The stream does not begin with a snapshot: it was removed and recreated.
    #[error(
        "the claims log {stream} does not begin with a snapshot: it was removed, and another process has written to it since"
    )]
    Headless {
        /// Stream of the log.
        stream: String,
    },
    /// A record cannot be read.
    #[error("record {seq} of the claims log {stream}: {source}")]
    Record {
        /// Stream of the log.
        stream: String,
        /// Sequence of the record.
        seq: u64,
        /// Fault of the record.
        source: WireError,
    },
    /// The log is not the one that was read before.
    #[error("claims log {stream}: {source}")]
    Lost {
        /// Stream of the log.
        stream: String,
        /// Fault of the log.
        source: LogReadError,
    },
    /// The stream, the table or the dead letters did not answer.
    #[error("the claims log {stream} cannot be checked: {source}")]
    Holdings {
        /// Stream of the log.
        stream: String,
        /// Cause of the failure.
        source: crate::HoldingsError,
    },
    /// A record is missing between others.
    #[error(
        "the claims log {stream} was recreated or purged after record {seq}, which was read before; did someone restore or remove it?"
    )]
    Missing {
        /// Stream of the log.
        stream: String,
        /// Sequence of the last record that was read.
        seq: u64,
    },
}

impl ClaimsLogError {
    /// Reports whether the log lost records. Nothing may be published or sent before
    /// [`crate::rebuild()`]; after it, only another publisher may.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::Missing { .. } | Self::Headless { .. } | Self::Empty { .. }
        )
    }

    /// Returns the first record of a log that another process has rebuilt, and that another
    /// publisher must read again from there.
    pub fn renewed_at(&self) -> Option<u64> {
        match self {
            Self::Lost {
                source: LogReadError::Renewed { seq },
                ..
            } => Some(*seq),
            _ => None,
        }
    }
}
