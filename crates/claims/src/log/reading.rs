//! Checks that a reader still reads the same log.

use std::collections::VecDeque;

use super::{Log, LogReadError, StreamSequences};
use crate::flaw::Flaw;
use crate::id::{LogPosition, Nonce};
use crate::record::{Record, RecordBody, Snapshot};

/// Number of streams without an open claim that a snapshot keeps: the last created ones. The others
/// are long deleted. If an operator restored one of them all the same, it would begin at its first
/// message again.
const STREAMS_MAX: usize = 64;
/// Number of records that a reader remembers, to detect that another reader had read another log.
/// It exceeds the number of records between two snapshots.
const RECENT_MAX: usize = 8 * 1024;

/// Returns a short mark for a record among the newest ones.
fn mark(id: Nonce) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let folded = id.0 as u64 ^ ((id.0 >> 64) as u64).rotate_left(32);
    (folded.wrapping_mul(ODD) >> 32) as u32
}

impl Log {
    /// Creates a snapshot of the state.
    pub fn snapshot(&self) -> Snapshot {
        let mut streams = self.streams.clone();
        if self.flaws.has(Flaw::SnapshotWithoutDone) {
            for stream in streams.values_mut() {
                stream.done = Default::default();
            }
        }
        let spare = streams.len().saturating_sub(STREAMS_MAX);
        let without = streams.iter().filter(|(_, stream)| stream.open.is_empty());
        let oldest: Vec<i64> = without.map(|(created, _)| *created).take(spare).collect();
        for created in oldest {
            streams.remove(&created);
        }
        for stream in streams.values_mut() {
            stream.open = Default::default();
        }
        Snapshot {
            covers: self.tip,
            generation: Some(self.generation),
            barrier: self.barrier,
            streams,
            claims: self.claims.clone(),
            tokens: self.tokens.clone(),
            forgotten: self.forgotten,
            recent: self.recent.clone(),
        }
    }

    /// Begins at a snapshot. A reader of all earlier records has the same state already.
    pub(super) fn begin(
        &mut self,
        seq: u64,
        id: Nonce,
        snapshot: &Snapshot,
    ) -> Result<(), LogReadError> {
        let is_placed = snapshot.covers.seq.checked_add(1) == Some(seq);
        if !is_placed {
            return Err(LogReadError::Misplaced {
                seq,
                covers: snapshot.covers.seq,
            });
        }
        let generation = snapshot.generation.unwrap_or(id);
        if self.tip != LogPosition::START && generation != self.generation {
            return Err(LogReadError::Renewed { seq });
        }
        // Every later snapshot counts a token that must stay in the window.
        let is_kept = |(fence, count): (&i64, &u32)| {
            *fence <= snapshot.forgotten || snapshot.tokens.get(fence) >= Some(count)
        };
        let is_other = snapshot.covers.seq == self.tip.seq && snapshot.covers.id != self.tip.id;
        let at_tip = recent(&snapshot.recent, snapshot.covers.seq, self.tip.seq);
        let is_other = is_other || at_tip.is_some_and(|at_tip| at_tip != mark(self.tip.id));
        if is_other || !self.tokens.iter().all(is_kept) {
            return Err(LogReadError::Lost { seq: self.tip.seq });
        }
        self.generation = generation;
        self.barrier = snapshot.barrier;
        self.forgotten = self.forgotten.max(snapshot.forgotten);
        self.streams = snapshot.streams.clone();
        self.claims = snapshot.claims.clone();
        self.tokens = snapshot.tokens.clone();
        for (id, claim) in &snapshot.claims {
            let sequences = claim.block.entries.iter().map(|entry| entry.stream_seq);
            let stream = self.streams.entry(claim.block.stream_created_ns);
            let stream = stream.or_insert_with(|| StreamSequences::new(0));
            stream.open(sequences, *id);
        }
        (self.tip, self.recent) = (snapshot.covers, snapshot.recent.clone());
        self.advance(LogPosition { seq, id });
        Ok(())
    }

    /// Checks that the log continues after the tip: see [`crate::Instance::resume`].
    pub(crate) fn resume(&self, last: u64, at_tip: Option<Nonce>) -> Result<(), LogReadError> {
        let seq = self.tip.seq;
        if seq == 0 || last >= seq && at_tip.is_none_or(|id| id == self.tip.id) {
            return Ok(());
        }
        Err(LogReadError::Lost { seq })
    }

    pub(super) fn advance(&mut self, tip: LogPosition) {
        if self.tip.seq.checked_add(1) != Some(tip.seq) {
            self.recent.clear();
        }
        self.tip = tip;
        self.recent.push_back(mark(tip.id));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// Reports whether this record, if among the newest, was read.
    pub(super) fn has_read(&self, place: LogPosition) -> bool {
        recent(&self.recent, self.tip.seq, place.seq) == Some(mark(place.id))
    }

    /// Reports whether a publisher may have read `place` in this log. A forgotten position counts
    /// as read: another reader, or the publisher itself, will detect it.
    fn may_have_read(&self, place: LogPosition) -> bool {
        match recent(&self.recent, self.tip.seq, place.seq) {
            Some(known) => known == mark(place.id),
            None => place.seq < self.tip.seq || place == self.tip,
        }
    }

    /// Checks a record of this generation for signs that the log lost records.
    pub(super) fn check(&self, seq: u64, record: &Record) -> Result<(), LogReadError> {
        if record.body == RecordBody::Lost {
            return Err(LogReadError::Announced { seq });
        }
        if !self.may_have_read(record.tip) {
            let seq = record.tip.seq;
            return Err(LogReadError::Lost { seq });
        }
        Ok(())
    }
}

/// Returns the mark of a record among the newest ones up to `last`.
fn recent(marks: &VecDeque<u32>, last: u64, seq: u64) -> Option<u32> {
    let back = usize::try_from(last.checked_sub(seq)?).ok()?;
    let index = marks.len().checked_sub(back.checked_add(1)?)?;
    marks.get(index).copied()
}
