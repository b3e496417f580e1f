//! The log as every instance reads it: a fold over its records.

mod claim;
mod error;
mod queries;
mod reading;
mod rebuild;
mod stream;

pub use claim::{Claim, Stored};
pub use error::LogError;
pub use rebuild::{AllFencesOver, Rebuild};
pub use stream::Stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use crate::flaw::{Flaw, Flaws};
use crate::id::{Nonce, Place, Position, Publisher};
use crate::record::{Block, Body, Done, Entry, Part, Proof, Record};

/// What the records up to a place amount to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    tip: Place,
    /// The snapshot that the log began with, or was rebuilt with.
    generation: Nonce,
    /// Marks of the newest records, the tip's last.
    recent: VecDeque<u32>,
    streams: BTreeMap<i64, Stream>,
    claims: BTreeMap<Nonce, Claim>,
    /// The number of tokens that must not leave the window yet, by their fences.
    tokens: BTreeMap<i64, u32>,
    /// Tokens with a fence up to here are forgotten.
    forgotten: i64,
    /// The place of the last record behind which claims must have been made.
    barrier: u64,
    flaws: Flaws,
}

/// What the log says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No claim names it.
    Free,
    /// No open claim names it, but it may be stored: the stream or the log went back. It is
    /// looked up by sequence and publish time; then it is claimed, or reported as stored.
    Doubtful,
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
            barrier: 0,
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
        self.tokens.values().map(|count| *count as usize).sum()
    }

    /// Reports whether there is something to forget: see [`Self::forget_tokens`].
    pub(crate) fn forgets_tokens(&self, now: i64, late: i64) -> bool {
        now.saturating_sub(late) > self.forgotten
    }

    /// Forgets the tokens whose fence and longest late commit are over at `now`, in
    /// ClickHouse's seconds; `late` is the longest late commit.
    pub fn forget_tokens(&mut self, now: i64, late: i64) {
        self.forgotten = self.forgotten.max(now.saturating_sub(late));
        self.tokens.retain(|fence, _| *fence > self.forgotten);
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
    /// When it does not follow the one before. Nothing of it counts then.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogError> {
        if seq <= self.tip.seq {
            // The same record once more says nothing: a consumer that begins again repeats some.
            let is_same = self.has_read(Place { seq, id: record.id });
            return is_same.then_some(()).ok_or(LogError::Lost { seq });
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
            self.apply(seq, record);
        }
        self.advance(Place { seq, id: record.id });
        Ok(())
    }

    fn apply(&mut self, seq: u64, record: &Record) {
        for done in &record.done {
            self.done(*done, record.publisher);
        }
        match &record.body {
            Body::Nothing | Body::Lost | Body::Snapshot(_) | Body::Foreign => {}
            Body::Claim(block) => self.open(record, block),
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
                let is_stale = self.is_stale(record);
                let stream = self.stream(*stream_created_ns);
                if !is_stale {
                    stream.finish_free(*first..=*last);
                }
            }
            Body::Absent { .. } => {}
            Body::Rewound(to) if !self.is_stale(record) => {
                let stream = self.stream(to.stream_created_ns);
                stream.rewind(to.stream_seq, to.published_ns, seq);
                self.barrier = seq;
            }
            Body::Rewound(_) => {}
            Body::Connected => self.barrier = seq,
            // However late it comes: what is done no more is looked up. What was found before may
            // be what the table has lost, and what was free then may have landed since.
            Body::Reopened {
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

    /// Reports whether a record may be about a stream that went back meanwhile.
    fn is_stale(&self, record: &Record) -> bool {
        record.tip.seq < self.barrier && !self.flaws.has(Flaw::ClaimsUnchecked)
    }

    fn stream(&mut self, stream_created_ns: i64) -> &mut Stream {
        self.streams
            .entry(stream_created_ns)
            .or_insert_with(|| Stream::new(0))
    }

    /// Opens a claim on what no earlier record owns.
    fn open(&mut self, record: &Record, block: &Block) {
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
        let block = Block {
            entries,
            ..block.clone()
        };
        self.insert(record.id, record.publisher, block);
    }

    fn insert(&mut self, id: Nonce, publisher: Publisher, block: Block) {
        if block.entries.is_empty() {
            return;
        }
        // Nothing is inserted for dead letters.
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
        if is_whole && self.are_new(parts) && (is_only || self.flaws.has(Flaw::SplitsAnnounced)) {
            self.replace(id, publisher, parts);
        }
    }

    fn settle(&mut self, id: Nonce, publisher: Publisher, parts: &[Part], lost: &[u64]) {
        let Some(claim) = self.claims.get(&id) else {
            return;
        };
        if claim.left(parts, lost).is_some() && self.are_new(parts) {
            self.replace(id, publisher, parts);
        }
    }

    /// Counts a range as in doubt, with the claims in it whose fences are over.
    fn reopen(&mut self, stream_created_ns: i64, range: RangeInclusive<u64>, over: i64) {
        let Some(stream) = self.streams.get_mut(&stream_created_ns) else {
            return;
        };
        let keeps_open = self.flaws.has(Flaw::ReopensDoneAlone);
        self.claims.retain(|_, Claim { block, .. }| {
            let mut sequences = block.entries.iter().map(|entry| entry.stream_seq);
            let is_before = block.stream_created_ns == stream_created_ns && block.fence <= over;
            let is_kept = keeps_open || !is_before || !sequences.any(|seq| range.contains(&seq));
            if !is_kept {
                stream.free(block.entries.iter().map(|entry| entry.stream_seq));
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

    /// Closes a claim. What is in no part is done.
    fn replace(&mut self, id: Nonce, publisher: Publisher, parts: &[Part]) {
        let Some(claim) = self.claims.remove(&id) else {
            return;
        };
        let (stream_created_ns, table) = (claim.block.stream_created_ns, claim.block.table);
        let sequences: BTreeSet<u64> = parts.iter().flat_map(Part::sequences).collect();
        let all = claim.block.entries.iter().map(|entry| entry.stream_seq);
        let done = all.filter(|seq| !sequences.contains(seq));
        self.stream(stream_created_ns).finish(done);
        for part in parts {
            let block = Block {
                stream_created_ns,
                fence: part.fence,
                // Where the table is another one meanwhile, only the first try of a part is sent.
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
