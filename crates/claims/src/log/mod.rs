//! The log as every instance reads it: a fold over its records.

mod claim;
mod error;
mod rebuild;
mod stream;

pub use claim::{Claim, Stored};
pub use error::LogError;
pub use rebuild::{AllFencesOver, Rebuild};
pub use stream::Stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rangemap::{RangeInclusiveMap, RangeInclusiveSet};

use crate::flaw::{Flaw, Flaws};
use crate::id::{Nonce, Place, Position, Publisher};
use crate::record::{Block, Body, Done, Entry, Fate, Part, Proof, Record, Snapshot};

/// Places that a reader remembers, to find a record of a publisher that had read another log.
const RECENT_PLACES_MAX: usize = 1024;

/// What the records up to a place amount to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    tip: Place,
    /// The snapshot that the log began with, or was rebuilt with.
    generation: Nonce,
    recent: VecDeque<Place>,
    streams: BTreeMap<i64, Stream>,
    claims: BTreeMap<Nonce, Claim>,
    tokens: BTreeMap<Nonce, i64>,
    /// Tokens with a fence up to here are forgotten.
    forgotten: i64,
    flaws: Flaws,
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

impl Log {
    /// A log of which nothing was read.
    pub fn new() -> Self {
        Self {
            tip: Place::START,
            generation: Nonce(0),
            recent: VecDeque::new(),
            streams: BTreeMap::new(),
            claims: BTreeMap::new(),
            tokens: BTreeMap::new(),
            forgotten: i64::MIN,
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

    /// The snapshot that the log began with, or was rebuilt with.
    pub fn generation(&self) -> Nonce {
        self.generation
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
        self.forgotten = self.forgotten.max(now.saturating_sub(late));
        self.tokens.retain(|_, fence| *fence > self.forgotten);
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

    /// Reports whether a record says why something is stored. No row is stored but under the
    /// claim that its message is in, and no dead letter for a row.
    pub fn explains(&self, stored: &Stored) -> bool {
        let Standing::Claimed(claim) = self.standing(stored.position) else {
            return self.standing(stored.position) == Standing::Done;
        };
        let block = self.claims.get(&claim).map(|claim| &claim.block);
        let entry = block.and_then(|block| block.entry(stored.position.stream_seq));
        let is_row = entry.is_some_and(|entry| entry.fate == Fate::Row);
        match stored.claim {
            Some(stored) => is_row && stored == claim,
            None => !is_row,
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
        if record.generation == self.generation {
            self.check(seq, record)?;
            self.apply(record);
        }
        self.advance(Place { seq, id: record.id });
        Ok(())
    }

    /// Checks a record of this generation for signs that the log lost records.
    fn check(&self, seq: u64, record: &Record) -> Result<(), LogError> {
        if record.body == Body::Lost {
            return Err(LogError::Announced { seq });
        }
        if !self.may_have_read(record.tip) {
            let seq = record.tip.seq;
            return Err(LogError::Lost { seq });
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record) {
        for done in &record.done {
            self.done(*done, record.publisher);
        }
        match &record.body {
            Body::Nothing | Body::Lost | Body::Snapshot(_) => {}
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
            generation: Some(self.generation),
            streams,
            claims: self.claims.clone(),
            tokens: self.tokens.clone(),
            forgotten: self.forgotten,
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
        let generation = snapshot.generation.unwrap_or(id);
        if self.tip != Place::START && generation != self.generation {
            return Err(LogError::Renewed { seq });
        }
        // A token that must stay in the window is in every later snapshot.
        let is_kept = |(token, fence): (&Nonce, &i64)| {
            *fence <= snapshot.forgotten || snapshot.tokens.contains_key(token)
        };
        let is_other = snapshot.covers.seq == self.tip.seq && snapshot.covers.id != self.tip.id;
        if is_other || !self.tokens.iter().all(is_kept) {
            return Err(LogError::Lost { seq: self.tip.seq });
        }
        self.generation = generation;
        self.forgotten = self.forgotten.max(snapshot.forgotten);
        self.streams = snapshot.streams.clone();
        self.claims = snapshot.claims.clone();
        self.tokens = snapshot.tokens.clone();
        self.advance(Place { seq, id });
        Ok(())
    }

    /// Checks that the log goes on behind the tip: see [`crate::Instance::resume`].
    pub(crate) fn resume(&self, last: u64, at_tip: Option<Nonce>) -> Result<(), LogError> {
        let seq = self.tip.seq;
        if seq == 0 || last >= seq && at_tip.is_none_or(|id| id == self.tip.id) {
            return Ok(());
        }
        Err(LogError::Lost { seq })
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
        self.tokens.insert(id, block.fence);
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
        let is_whole = claim.left(parts, &[]).is_some_and(|left| left.is_empty());
        if is_whole && (is_only || self.flaws.has(Flaw::SplitsAnnounced)) {
            self.replace(id, publisher, parts);
        }
    }

    fn settle(&mut self, id: Nonce, publisher: Publisher, parts: &[Part], lost: &[u64]) {
        let Some(claim) = self.claims.get(&id) else {
            return;
        };
        if claim.left(parts, lost).is_some() {
            self.replace(id, publisher, parts);
        }
    }

    /// Closes a claim. What is in no part is done.
    fn replace(&mut self, id: Nonce, publisher: Publisher, parts: &[Part]) {
        let Some(claim) = self.claims.remove(&id) else {
            return;
        };
        let stream_created_ns = claim.block.stream_created_ns;
        let sequences: BTreeSet<u64> = parts.iter().flat_map(Part::sequences).collect();
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

#[cfg(test)]
mod tests;
