//! State of the log: a fold over its records, equal in every instance.

pub(crate) mod claim;
mod error;
mod open_claims;
mod queries;
mod reading;
mod rebuild;
mod sequence_set;
pub(crate) mod stream;

pub use claim::{Claim, StoredEntry};
pub use error::LogReadError;
pub use rebuild::{AllFencesOver, Rebuild};
pub use stream::StreamSequences;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use crate::block::{ClaimBlock, Part};
use crate::entry::Entry;
use crate::flaw::{Flaw, Flaws};
use crate::id::{LogPosition, Nonce, Position, PublisherId};
use crate::record::{Done, Proof, Record, RecordBody};

/// State after the records up to the tip.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    tip: LogPosition,
    /// Snapshot that began or rebuilt the log.
    generation: Nonce,
    /// Marks of the newest records, the tip's last.
    recent: VecDeque<u32>,
    streams: BTreeMap<i64, StreamSequences>,
    claims: BTreeMap<Nonce, Claim>,
    /// Tokens that must not leave the window yet: their number by fence.
    tokens: BTreeMap<i64, u32>,
    /// Fence up to which tokens are forgotten.
    forgotten: i64,
    /// Position of the newest barrier; a claim whose publisher had not read it is void.
    barrier: u64,
    flaws: Flaws,
}

/// Standing of a message in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No claim contains it.
    Free,
    /// No open claim contains it, but it may be stored: the stream or the log went back. It is
    /// looked up by sequence and publish time, then claimed or reported as stored.
    Doubtful,
    /// It is in an open claim.
    Claimed(Nonce),
    /// It is stored, or recorded as lost.
    Done,
    /// Its sequence belongs to a message with another publish time: the stream went back.
    Other,
}

impl Log {
    /// Creates a log before its first record.
    pub fn new() -> Self {
        Self {
            tip: LogPosition::START,
            generation: Nonce(0),
            recent: VecDeque::new(),
            streams: BTreeMap::new(),
            claims: BTreeMap::new(),
            tokens: BTreeMap::new(),
            forgotten: i64::MIN,
            barrier: 0,
            flaws: Flaws::default(),
        }
    }

    /// Breaks a rule.
    #[cfg(feature = "flaws")]
    pub fn break_rule(mut self, flaw: Option<Flaw>) -> Self {
        self.flaws = Flaws::break_rule(flaw);
        self
    }

    /// Returns the position of the last record that was read.
    pub fn tip(&self) -> LogPosition {
        self.tip
    }

    /// Returns the snapshot that began or rebuilt the log.
    pub fn generation(&self) -> Nonce {
        self.generation
    }

    /// Returns an open claim.
    pub fn claim(&self, id: Nonce) -> Option<&Claim> {
        self.claims.get(&id)
    }

    /// Iterates over the open claims.
    pub fn claims(&self) -> impl Iterator<Item = (Nonce, &Claim)> {
        self.claims.iter().map(|(id, claim)| (*id, claim))
    }

    /// Returns the sequence up to which all messages of a stream are done.
    pub fn floor(&self, stream_created_ns: i64) -> Option<u64> {
        Some(self.streams.get(&stream_created_ns)?.floor)
    }

    /// Returns the number of tokens that must not leave the window yet.
    pub fn tokens(&self) -> usize {
        self.tokens.values().map(|count| *count as usize).sum()
    }

    /// Reports whether [`Self::forget_tokens`] would forget a token.
    pub(crate) fn would_forget_tokens(&self, now: i64, late: i64) -> bool {
        let first = self.tokens.first_key_value();
        first.is_some_and(|(fence, _)| *fence <= now.saturating_sub(late))
    }

    /// Forgets the tokens whose fence and longest late commit are over at `now`, in ClickHouse's
    /// seconds; `late` is the longest late commit. If ClickHouse's clock was ahead for a while, its
    /// time now decides.
    pub fn forget_tokens(&mut self, now: i64, late: i64) {
        let over = now.saturating_sub(late);
        self.forgotten = self.forgotten.max(over);
        self.tokens.retain(|fence, _| *fence > over);
    }

    /// Returns the standing of a message.
    pub fn standing(&self, position: Position) -> Standing {
        let Some(stream) = self.streams.get(&position.stream_created_ns) else {
            return Standing::Free;
        };
        if stream.is_done(position.stream_seq) {
            return Standing::Done;
        }
        let Some(claim) = stream.claim(position.stream_seq) else {
            return if position.stream_seq > stream.doubt {
                Standing::Free
            } else {
                Standing::Doubtful
            };
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
    /// Fails when the record does not follow the one before. It then has no effect.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogReadError> {
        if seq <= self.tip.seq {
            // A record that was read before is no error: a restarted consumer repeats some.
            let is_same = self.has_read(LogPosition { seq, id: record.id });
            return is_same.then_some(()).ok_or(LogReadError::Lost { seq });
        }
        if let RecordBody::Snapshot(snapshot) = &record.body {
            return self.begin(seq, record.id, snapshot);
        }
        if seq != self.tip.seq + 1 {
            return Err(LogReadError::Gap {
                read: self.tip.seq,
                found: seq,
            });
        }
        if record.generation == self.generation {
            self.check(seq, record)?;
            self.apply(seq, record);
        }
        self.advance(LogPosition { seq, id: record.id });
        Ok(())
    }

    fn apply(&mut self, seq: u64, record: &Record) {
        for done in &record.done {
            self.done(*done, record.publisher);
        }
        match &record.body {
            RecordBody::Nothing
            | RecordBody::Lost
            | RecordBody::Snapshot(_)
            | RecordBody::Foreign => {}
            RecordBody::Claim(block) => self.open(record, block),
            RecordBody::Takeover(claim) => {
                if let Some(claim) = self.claims.get_mut(claim) {
                    claim.takers.insert(record.publisher);
                }
            }
            RecordBody::Split { claim, parts } => self.split(*claim, record.publisher, parts),
            RecordBody::Settled { claim, parts, lost } => {
                self.settle(*claim, record.publisher, parts, lost);
            }
            RecordBody::Absent {
                stream_created_ns,
                first,
                last,
            } if first <= last => {
                let is_stale = self.is_stale(record);
                let stream = self.stream(*stream_created_ns);
                if !is_stale {
                    stream.finish_free(*first..=*last);
                }
            }
            RecordBody::Absent { .. } => {}
            RecordBody::Rewound(to) if !self.is_stale(record) => {
                let stream = self.stream(to.stream_created_ns);
                stream.rewind(to.stream_seq, to.published_ns, seq);
                self.barrier = seq;
            }
            RecordBody::Rewound(_) => {}
            RecordBody::Connected => self.barrier = seq,
            // Applies even if it arrives late, since no longer done messages are looked up. Entries
            // found before may be those that the table has lost, and messages that were free then
            // may have landed since.
            RecordBody::Reopened {
                stream_created_ns,
                first,
                last,
                over,
            } => {
                self.barrier = seq;
                self.reopen(*stream_created_ns, *first..=*last, *over);
            }
        }
    }

    /// Reports whether a record may concern a stream that went back meanwhile.
    fn is_stale(&self, record: &Record) -> bool {
        record.tip.seq < self.barrier && !self.flaws.has(Flaw::ClaimsUnchecked)
    }

    fn stream(&mut self, stream_created_ns: i64) -> &mut StreamSequences {
        self.streams
            .entry(stream_created_ns)
            .or_insert_with(|| StreamSequences::new(0))
    }

    /// Opens a claim with the messages that no earlier record owns.
    fn open(&mut self, record: &Record, block: &ClaimBlock) {
        if !block.is_sorted() || self.is_stale(record) || self.claims.contains_key(&record.id) {
            return;
        }
        let last_wins = self.flaws.has(Flaw::LastClaimWins);
        let stream = self.stream(block.stream_created_ns);
        let is_free = |entry: &&Entry| {
            last_wins
                || !stream.is_done(entry.stream_seq) && stream.claim(entry.stream_seq).is_none()
        };
        let entries: Vec<Entry> = block.entries.iter().filter(is_free).copied().collect();
        if let Some(last) = entries.last() {
            stream.claimed(last.stream_seq, last.published_ns);
        }
        if last_wins {
            stream.disown(entries.iter().map(|entry| entry.stream_seq));
        }
        let block = ClaimBlock {
            stream_created_ns: block.stream_created_ns,
            fence: block.fence,
            table: block.table,
            entries,
        };
        self.insert(record.id, record.publisher, block);
    }

    fn insert(&mut self, id: Nonce, publisher: PublisherId, block: ClaimBlock) {
        if block.entries.is_empty() {
            return;
        }
        // Dead letters cause no insert.
        if block.rows().next().is_some() {
            let count = self.tokens.entry(block.fence).or_default();
            *count = count.saturating_add(1);
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

    /// Ends a claim as done, if the proof counts.
    fn done(&mut self, done: Done, publisher: PublisherId) {
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

    fn split(&mut self, id: Nonce, publisher: PublisherId, parts: &[Part]) {
        let Some(claim) = self.claims.get(&id) else {
            return;
        };
        let is_only = claim.publisher == publisher && claim.takers.is_empty();
        let is_whole = claim
            .remaining(parts, &[])
            .is_some_and(|left| left.is_empty());
        if is_whole && self.are_new(parts) && (is_only || self.flaws.has(Flaw::SplitsAnnounced)) {
            self.replace(id, publisher, parts);
        }
    }

    fn settle(&mut self, id: Nonce, publisher: PublisherId, parts: &[Part], lost: &[u64]) {
        let Some(claim) = self.claims.get(&id) else {
            return;
        };
        if claim.remaining(parts, lost).is_some() && self.are_new(parts) {
            self.replace(id, publisher, parts);
        }
    }

    /// Counts a range as in doubt, with its claims whose fences are over.
    fn reopen(&mut self, stream_created_ns: i64, range: RangeInclusive<u64>, over: i64) {
        let Some(stream) = self.streams.get_mut(&stream_created_ns) else {
            return;
        };
        let keeps_open = self.flaws.has(Flaw::ReopensDoneAlone);
        self.claims.retain(|id, Claim { block, .. }| {
            let mut sequences = block.entries.iter().map(|entry| entry.stream_seq);
            let is_before = block.stream_created_ns == stream_created_ns && block.fence <= over;
            let is_kept = keeps_open || !is_before || !sequences.any(|seq| range.contains(&seq));
            if !is_kept {
                let sequences = block.entries.iter().map(|entry| entry.stream_seq);
                // Parts of a foreign record may be in any order.
                stream.free(*id, sequences.max().unwrap_or(0));
            }
            is_kept
        });
        stream.reopen(&range);
    }

    /// Reports whether each part has a token of its own, which no open claim has.
    fn are_new(&self, parts: &[Part]) -> bool {
        let ids: BTreeSet<Nonce> = parts.iter().map(|part| part.id).collect();
        ids.len() == parts.len() && ids.iter().all(|id| !self.claims.contains_key(id))
    }

    /// Closes a claim. Entries that are in no part are done.
    fn replace(&mut self, id: Nonce, publisher: PublisherId, parts: &[Part]) {
        let Some(claim) = self.claims.remove(&id) else {
            return;
        };
        let (stream_created_ns, table) = (claim.block.stream_created_ns, claim.block.table);
        let sequences: BTreeSet<u64> = parts.iter().flat_map(Part::sequences).collect();
        let all = claim.block.entries.iter().map(|entry| entry.stream_seq);
        let done = all.filter(|seq| !sequences.contains(seq));
        self.stream(stream_created_ns).finish(id, done);
        for part in parts {
            let block = ClaimBlock {
                stream_created_ns,
                fence: part.fence,
                // If the table was replaced meanwhile, only the first attempt of a part is sent.
                table,
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
mod back_tests;
#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod tests;
