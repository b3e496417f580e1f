//! Reasons for which a purge failed.

use std::time::Duration;

use claims_log::{ClaimsLogError, PublicError};
use jetstream::stored::StoredError;
use tracing::debug;

use crate::claiming::ClaimingError;

/// Longest time from the first read to the purge; a slower purge is dropped, since its information
/// is old.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(20);

/// Reasons for which a purge failed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A list could not be read.
    #[error(
        "JetStream does not list the {what}: {}; does nats.user lack a permission of infra/nats/least-privilege.conf?",
        PublicError(&**.answer)
    )]
    List {
        /// Requested list.
        what: &'static str,
        /// Answer of JetStream.
        answer: async_nats::Error,
    },
    /// The servers of some consumers do not answer, so what they need is not known.
    #[error("the servers of consumers do not answer: {}; nothing is purged until they do", .0.join(", "))]
    Unanswered(Vec<String>),
    /// A list is too long to check.
    #[error("the stream has more than {1} {0}")]
    TooMany(&'static str, usize),
    /// A message could not be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// A claims log could not be read.
    #[error(transparent)]
    Log(#[from] ClaimsLogError),
    /// The stream could not be compared with the claims log.
    #[error(transparent)]
    Claiming(#[from] ClaimingError),
    /// The server rejected the purge.
    #[error(
        "JetStream does not purge stream {stream}: {}; does nats.user lack $JS.API.STREAM.PURGE.{stream}, or does the stream have deny_purge?",
        PublicError(&**.answer)
    )]
    Purge {
        /// Name of the stream.
        stream: String,
        /// Answer of JetStream.
        answer: async_nats::Error,
    },
    /// The checks took too long.
    #[error("the checks before a purge took longer than {} s", LOOK_MAX.as_secs())]
    TooSlow,
}

impl RetentionError {
    /// Keeps JetStream's words out of the error.
    pub(super) fn list(what: &'static str, answer: impl Into<async_nats::Error>) -> Self {
        let answer = answer.into();
        debug!(what, words = %answer, "JetStream's own words");
        Self::List { what, answer }
    }
}
