//! Reasons for which claiming fails.

use claims_log::ClaimsLogError;
use jetstream::advisories::AdvisoriesError;
use jetstream::dead_letter::DeadLetterStreamError;
use jetstream::stored::StoredError;
use jetstream::topology::TopologyError;
use store::StoreError;

/// Reasons for which claiming fails.
#[derive(Debug, thiserror::Error)]
pub enum ClaimingError {
    /// The claims log fails.
    #[error(transparent)]
    Log(#[from] ClaimsLogError),
    /// The stream or the consumer fails.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A message cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Advisories cannot be read.
    #[error(transparent)]
    Advisories(#[from] AdvisoriesError),
    /// ClickHouse fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dead letters cannot be read.
    #[error(transparent)]
    DeadLetters(#[from] DeadLetterStreamError),
    /// The claims log rejects records.
    #[error("the claims log takes no record: {0}; make room in the NATS account and on its disk")]
    Refused(String),
    /// The stream of signals is gone.
    #[error("stream {0} does not exist")]
    NoStream(String),
    /// The claims log does not exist.
    #[error(
        "the claims log {0} does not exist, so nothing was claimed; `risksignal run` creates it"
    )]
    NoLog(String),
}
