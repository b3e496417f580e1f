//! Blocks of claims: the messages that they contain.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Fate};
use crate::id::Nonce;
use crate::packed;

/// Block of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimBlock {
    /// Creation time of the stream of all its messages: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// ClickHouse's second from which it rejects the block.
    pub fence: i64,
    /// Table of the first attempt; 0 if it has no identifier. Another table does not know the
    /// token, so the block is not sent there again.
    pub table: u128,
    /// Messages, by rising sequence.
    #[serde(with = "packed")]
    pub entries: Vec<Entry>,
}

/// A claim that replaces part of another one. Its publisher is that of the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Identifier of the claim, and token of its block.
    pub id: Nonce,
    /// ClickHouse's second from which it rejects the block.
    pub fence: i64,
    /// Messages, by rising sequence.
    #[serde(with = "packed")]
    pub entries: Vec<Entry>,
}

impl ClaimBlock {
    /// Iterates over the sequences that become rows.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        let rows = self.entries.iter().filter(|entry| entry.fate == Fate::Row);
        rows.map(|entry| entry.stream_seq)
    }

    /// Iterates over the sequences that become dead letters.
    pub fn dead_letters(&self) -> impl Iterator<Item = u64> {
        let letters = self.entries.iter().filter(|entry| entry.fate != Fate::Row);
        letters.map(|entry| entry.stream_seq)
    }

    /// Returns the entry of a sequence.
    pub fn entry(&self, stream_seq: u64) -> Option<&Entry> {
        let at = |entry: &Entry| entry.stream_seq;
        let index = self.entries.binary_search_by_key(&stream_seq, at).ok()?;
        self.entries.get(index)
    }

    /// Reports whether the sequences rise strictly, so that each occurs once.
    pub fn is_sorted(&self) -> bool {
        let rise = |pair: &[Entry]| pair[0].stream_seq < pair[1].stream_seq;
        self.entries.windows(2).all(rise)
    }
}
