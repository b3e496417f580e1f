//! Identifiers of a record, a process, a message, and a position in the log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 random bits. A nonce identifies a record, and is the token of its claim's block. A position
/// in the log could not be the token: a log that lost its tail uses positions again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u128);

/// The process that published a record: random, and new at each start. A restarted daemon is
/// another publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublisherId(pub u128);

/// Position of a message in a stream. Two messages with one sequence and different publish times
/// have different positions. Times are compared for equality only, never for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Creation time of the stream: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// Sequence in the stream, from 1.
    pub stream_seq: u64,
    /// Time at which JetStream stored the message: nanoseconds since the epoch.
    pub published_ns: i64,
}

/// Position of a record in the claims log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// Sequence in the log, from 1; 0 before the first record.
    pub seq: u64,
    /// Nonce of the record.
    pub id: Nonce,
}

impl LogPosition {
    /// Position before the first record.
    pub const START: Self = Self {
        seq: 0,
        id: Nonce(0),
    };
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({:x})", self.0)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
