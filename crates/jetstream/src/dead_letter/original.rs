//! Original message of a dead letter.

use bytes::Bytes;

use crate::HeaderBlock;

/// Original message of a dead letter.
#[derive(Debug, Clone)]
pub struct Original<'a> {
    /// Subject that it was published on.
    pub subject: &'a str,
    /// Headers as they came, if it has any.
    pub headers: Option<&'a HeaderBlock>,
    /// Body of the message.
    pub body: &'a Bytes,
    /// Stream of the message.
    pub stream: &'a str,
    /// Table that it did not reach, with its database.
    pub table: &'a str,
    /// Creation time of that stream: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Time at which the stream stored it: milliseconds since the epoch.
    pub published_at_ms: i64,
    /// Number of deliveries since it was stored.
    pub attempts: u64,
}
