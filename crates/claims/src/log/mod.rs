//! The log as every instance reads it: a fold over its records.

mod stream;

pub use stream::Stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rangemap::{RangeInclusiveMap, RangeInclusiveSet};
use serde::{Deserialize, Serialize};

use crate::flaw::{Flaw, Flaws};
use crate::id::{Nonce, Place, Position, Publisher};
use crate::record::{Block, Body, Done, Entry, Part, Proof, Record, Snapshot};

/// Places that a reader remembers, to find a record of a publisher that had read another log.
const RECENT_PLACES_MAX: usize = 1024;

/// What the records up to a place amount to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    tip: Place,
    recent: VecDeque<Place>,
    streams: BTreeMap<i64, Stream>,
    claims: BTreeMap<Nonce, Claim>,
    tokens: BTreeMap<Nonce, i64>,
    flaws: Flaws,
}

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

/// What the log says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No claim names it.
    Free,
    /// It is in an open claim.
    Claimed(Nonce),
    /// It is stored, or recorded as lost.
    Done,
    /// Its sequence is claimed for a message with another publish time: the stream went back.
    Other,
}

/// A log that cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Records were purged before they were read.
    #[error(
        "the claims log goes on at {found} behind {read}; read it again from its newest snapshot"
    )]
    Gap {
        /// The last record that was read.
        read: u64,
        /// The record that came.
        found: u64,
    },
    /// The log lost its tail: other records stand at places that were read before.
    #[error(
        "the claims log went back: it has another record at {seq} than the one that was read there"
    )]
    Lost {
        /// The place.
        seq: u64,
    },
    /// A snapshot does not stand for the records before it.
    #[error(
        "the snapshot at {seq} of the claims log covers {covers} only; stop every daemon and restore the log"
    )]
    Misplaced {
        /// The snapshot's place.
        seq: u64,
        /// The last record that it covers.
        covers: u64,
    },
}

impl Log {
    /// A log of which nothing was read.
    pub fn new() -> Self {
        Self {
            tip: Place::START,
            recent: VecDeque::new(),
            streams: BTreeMap::new(),
            claims: BTreeMap::new(),
            tokens: BTreeMap::new(),
            flaws: Flaws::default(),
        }
    }

    /// The same with a broken rule.
    #[cfg(feature = "flaws")]
    pub fn breaking(mut self, flaw: Option<Flaw>) -> Self {
        self.flaws = Flaws::breaking(flaw);
        self
    }

    /// The last record that was read.
    pub fn tip(&self) -> Place {
        self.tip
    }

    /// An open claim.
    pub fn claim(&self, id: Nonce) -> Option<&Claim> {
        self.claims.get(&id)
    }

    /// The open claims.
    pub fn claims(&self) -> impl Iterator<Item = (Nonce, &Claim)> {
        self.claims.iter().map(|(id, claim)| (*id, claim))
    }

    /// The sequence up to which everything of a stream is done.
    pub fn floor(&self, stream_created_ns: i64) -> Option<u64> {
        Some(self.streams.get(&stream_created_ns)?.floor)
    }

    /// Tokens that must not leave the window yet.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Forgets the tokens whose fence and longest late commit are over at `now`, in
    /// ClickHouse's seconds; `late` is the longest late commit.
    pub fn forget_tokens(&mut self, now: i64, late: i64) {
        self.tokens
            .retain(|_, fence| fence.saturating_add(late) > now);
    }

    /// What the log says of a message.
    pub fn standing(&self, position: Position) -> Standing {
        let Some(stream) = self.streams.get(&position.stream_created_ns) else {
            return Standing::Free;
        };
        if stream.is_done(position.stream_seq) {
            return Standing::Done;
        }
        let Some(claim) = stream.claim(position.stream_seq) else {
            return Standing::Free;
        };
        let block = self.claims.get(&claim).map(|claim| &claim.block);
        match block.and_then(|block| block.entry(position.stream_seq)) {
            Some(entry) if entry.published_ns == position.published_ns => Standing::Claimed(claim),
            _ => Standing::Other,
        }
    }

    /// Reads the record at `seq`.
    ///
    /// # Errors
    /// When it does not follow the one before. Nothing of it counts then.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogError> {
        if seq <= self.tip.seq {
            return Err(LogError::Lost { seq });
        }
        if let Body::Snapshot(snapshot) = &record.body {
            return self.begin(seq, record.id, snapshot);
        }
        if seq != self.tip.seq + 1 {
            return Err(LogError::Gap {
                read: self.tip.seq,
                found: seq,
            });
        }
        if !self.may_have_read(record.tip) {
            return Err(LogError::Lost {
                seq: record.tip.seq,
            });
        }
        for done in &record.done {
            self.done(*done, record.publisher);
        }
        match &record.body {
            Body::Nothing | Body::Snapshot(_) => {}
            Body::Claim(block) => self.open(record.id, record.publisher, block),
            Body::Takeover(claim) => {
                if let Some(claim) = self.claims.get_mut(claim) {
                    claim.takers.insert(record.publisher);
                }
            }
            Body::Split { claim, parts } => self.split(*claim, record.publisher, parts),
            Body::Settled { claim, parts, lost } => {
                self.settle(*claim, record.publisher, parts, lost);
            }
            Body::Absent {
                stream_created_ns,
                first,
                last,
            } if first <= last => {
                let stream = self.stream(*stream_created_ns);
                stream.finish_free(*first..=*last);
            }
            Body::Absent { .. } => {}
        }
        self.advance(Place { seq, id: record.id });
        Ok(())
    }

    /// What all records so far amount to.
    pub fn snapshot(&self) -> Snapshot {
        let mut streams = self.streams.clone();
        if self.flaws.has(Flaw::SnapshotWithoutDone) {
            for stream in streams.values_mut() {
                stream.done = RangeInclusiveSet::new();
            }
        }
        Snapshot {
            covers: self.tip,
            streams,
            claims: self.claims.clone(),
            tokens: self.tokens.clone(),
        }
    }

    /// Begins at a snapshot. A reader that has read all before it has the same already.
    fn begin(&mut self, seq: u64, id: Nonce, snapshot: &Snapshot) -> Result<(), LogError> {
        let is_placed = snapshot.covers.seq.checked_add(1) == Some(seq);
        if !is_placed {
            return Err(LogError::Misplaced {
                seq,
                covers: snapshot.covers.seq,
            });
        }
        if snapshot.covers.seq == self.tip.seq && snapshot.covers.id != self.tip.id {
            return Err(LogError::Lost { seq: self.tip.seq });
        }
        self.streams = snapshot.streams.clone();
        self.claims = snapshot.claims.clone();
        self.tokens = snapshot.tokens.clone();
        self.advance(Place { seq, id });
        Ok(())
    }

    fn advance(&mut self, tip: Place) {
        self.tip = tip;
        self.recent.push_back(tip);
        if self.recent.len() > RECENT_PLACES_MAX {
            self.recent.pop_front();
        }
    }

    /// Reports whether a publisher may have read `place` in this log. A place that was
    /// forgotten counts as read: another reader, or the publisher itself, finds it out.
    fn may_have_read(&self, place: Place) -> bool {
        let known = self.recent.iter().find(|known| known.seq == place.seq);
        match known {
            Some(known) => known.id == place.id,
            None => place.seq < self.tip.seq || place == self.tip,
        }
    }

    fn stream(&mut self, stream_created_ns: i64) -> &mut Stream {
        self.streams
            .entry(stream_created_ns)
            .or_insert_with(|| Stream {
                floor: 0,
                done: RangeInclusiveSet::new(),
                open: RangeInclusiveMap::new(),
            })
    }

    /// Opens a claim on what no earlier record owns.
    fn open(&mut self, id: Nonce, publisher: Publisher, block: &Block) {
        if !block.is_sorted() {
            return;
        }
        let last_wins = self.flaws.has(Flaw::LastClaimWins);
        let stream = self.stream(block.stream_created_ns);
        let is_free = |entry: &&Entry| {
            last_wins
                || !stream.is_done(entry.stream_seq) && stream.claim(entry.stream_seq).is_none()
        };
        let entries: Vec<Entry> = block.entries.iter().filter(is_free).copied().collect();
        let block = Block {
            entries,
            ..block.clone()
        };
        self.insert(id, publisher, block);
    }

    fn insert(&mut self, id: Nonce, publisher: Publisher, block: Block) {
        if block.entries.is_empty() {
            return;
        }
        if !block.rows().is_empty() {
            self.tokens.insert(id, block.fence);
        }
        let sequences = block.entries.iter().map(|entry| entry.stream_seq);
        self.stream(block.stream_created_ns).open(sequences, id);
        let claim = Claim {
            publisher,
            takers: BTreeSet::new(),
            block,
        };
        self.claims.insert(id, claim);
    }

    /// Ends a claim as done, where the proof counts.
    fn done(&mut self, done: Done, publisher: Publisher) {
        let Some(claim) = self.claims.get(&done.claim) else {
            return;
        };
        let is_only = claim.publisher == publisher && claim.takers.is_empty();
        let counts = match done.proof {
            Proof::Counted => true,
            Proof::OnlyTry => is_only || self.flaws.has(Flaw::OnlyTryAnnounced),
        };
        if counts {
            self.replace(done.claim, publisher, &[]);
        }
    }

    fn split(&mut self, id: Nonce, publisher: Publisher, parts: &[Part]) {
        let Some(claim) = self.claims.get(&id) else {
            return;
        };
        let is_only = claim.publisher == publisher && claim.takers.is_empty();
        let is_whole = left(claim, parts, &[]).is_some_and(|left| left.is_empty());
        if is_whole && (is_only || self.flaws.has(Flaw::SplitsAnnounced)) {
            self.replace(id, publisher, parts);
        }
    }

    fn settle(&mut self, id: Nonce, publisher: Publisher, parts: &[Part], lost: &[u64]) {
        let Some(claim) = self.claims.get(&id) else {
            return;
        };
        if left(claim, parts, lost).is_some() {
            self.replace(id, publisher, parts);
        }
    }

    /// Closes a claim. What is in no part is done.
    fn replace(&mut self, id: Nonce, publisher: Publisher, parts: &[Part]) {
        let Some(claim) = self.claims.remove(&id) else {
            return;
        };
        let stream_created_ns = claim.block.stream_created_ns;
        let sequences: BTreeSet<u64> = parts.iter().flat_map(sequences).collect();
        let all = claim.block.entries.iter().map(|entry| entry.stream_seq);
        let done = all.filter(|seq| !sequences.contains(seq));
        self.stream(stream_created_ns).finish(done);
        for part in parts {
            let block = Block {
                stream_created_ns,
                fence: part.fence,
                entries: part.entries.clone(),
            };
            self.insert(part.id, publisher, block);
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

fn sequences(part: &Part) -> impl Iterator<Item = u64> {
    part.entries.iter().map(|entry| entry.stream_seq)
}

/// The sequences of a claim that are in no part and not lost; `None` when parts or losses name
/// anything that is not the claim's, or twice.
fn left(claim: &Claim, parts: &[Part], lost: &[u64]) -> Option<BTreeSet<u64>> {
    let mut left: BTreeSet<u64> = claim.block.entries.iter().map(|e| e.stream_seq).collect();
    let named = parts.iter().flat_map(sequences).chain(lost.iter().copied());
    for seq in named {
        if !left.remove(&seq) {
            return None;
        }
    }
    Some(left)
}

#[cfg(test)]
mod tests;
