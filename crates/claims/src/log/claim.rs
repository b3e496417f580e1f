//! Open claims and stored entries.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::block::{ClaimBlock, Part};
use crate::id::{Nonce, Position, PublisherId};

/// An open claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Process that may send it without an announcement.
    pub publisher: PublisherId,
    /// Processes that have announced that they send it, too.
    pub takers: BTreeSet<PublisherId>,
    /// Block, without the messages that earlier records own.
    pub block: ClaimBlock,
}

/// A stored row or dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredEntry {
    /// Position of its message.
    pub position: Position,
    /// Claim of a row; `None` for a dead letter.
    pub claim: Option<Nonce>,
}

impl Claim {
    /// Returns the sequences that are in no part and not lost; `None` if parts or losses contain a
    /// sequence twice or one outside the claim.
    pub(super) fn remaining(&self, parts: &[Part], lost: &[u64]) -> Option<BTreeSet<u64>> {
        let all = self.block.entries.iter().map(|entry| entry.stream_seq);
        let mut left: BTreeSet<u64> = all.collect();
        let named = parts.iter().flat_map(Part::sequences);
        for seq in named.chain(lost.iter().copied()) {
            if !left.remove(&seq) {
                return None;
            }
        }
        Some(left)
    }
}
