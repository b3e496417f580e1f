//! A message of a block, and its outcome.

use serde::{Deserialize, Serialize};

/// A message of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Sequence in the stream.
    pub stream_seq: u64,
    /// Time at which JetStream stored it: nanoseconds since the epoch.
    pub published_ns: i64,
    /// Outcome of the message.
    pub fate: Fate,
}

/// Outcome of a message. A dead letter never becomes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fate {
    /// A row.
    Row,
    /// A dead letter.
    DeadLetter(Cause),
}

/// Cause of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The message is no valid signal.
    Invalid,
    /// ClickHouse rejects its row.
    Refused,
    /// The message reached its maximum of deliveries.
    MaxDeliveries,
}
