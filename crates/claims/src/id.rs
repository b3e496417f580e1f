//! Identities: of a record, a process, a message, and a place in the log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 random bits. It identifies a record, and the token of a claim's block is the nonce of
/// its record. Never a place in the log: a log that lost its tail uses places again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u128);

/// The process that published a record: random, and new at each start. A daemon that was
/// started again is another publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Publisher(pub u128);

/// One message of a stream. Two messages with one sequence and different publish times are
/// different positions; times are compared for equality only, never for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Creation of the stream: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// Sequence in the stream, from 1.
    pub stream_seq: u64,
    /// When JetStream stored the message: nanoseconds since the epoch.
    pub published_ns: i64,
}

/// A place in the claims log, and the record at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Sequence in the log, from 1; 0 before the first record.
    pub seq: u64,
    /// The record.
    pub id: Nonce,
}

impl Place {
    /// The place before the first record.
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
