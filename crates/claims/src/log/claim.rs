//! An open claim, and what is stored.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{Nonce, Position, Publisher};
use crate::record::{Block, Part};

/// An open claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The process that may send it without an announcement.
    pub publisher: Publisher,
    /// The processes that have announced that they send it, too.
    pub takers: BTreeSet<Publisher>,
    /// The block, without what earlier records own.
    pub block: Block,
}

/// A row of the table, or a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The message.
    pub position: Position,
    /// The claim that a row carries; `None` for a dead letter.
    pub claim: Option<Nonce>,
}

impl Claim {
    /// The sequences that are in no part and not lost; `None` when parts or losses name
    /// anything that is not the claim's, or twice.
    pub(super) fn left(&self, parts: &[Part], lost: &[u64]) -> Option<BTreeSet<u64>> {
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
