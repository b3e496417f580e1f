//! How a reader finds out that it reads the log that it read before.

use rangemap::RangeInclusiveSet;

use super::{Log, LogError};
use crate::flaw::Flaw;
use crate::id::{Nonce, Place};
use crate::record::{Body, Record, Snapshot};

/// Streams without an open claim that a snapshot keeps: those that were created last. The others
/// are long deleted. One of them that an operator restored all the same would begin at its first
/// message again.
const STREAMS_MAX: usize = 64;
/// Places that a reader remembers, to find a record of a publisher that had read another log.
const RECENT_PLACES_MAX: usize = 1024;

impl Log {
    /// What all records so far amount to.
    pub fn snapshot(&self) -> Snapshot {
        let mut streams = self.streams.clone();
        if self.flaws.has(Flaw::SnapshotWithoutDone) {
            for stream in streams.values_mut() {
                stream.done = RangeInclusiveSet::new();
            }
        }
        let spare = streams.len().saturating_sub(STREAMS_MAX);
        let without = streams.iter().filter(|(_, stream)| stream.open.is_empty());
        let oldest: Vec<i64> = without.map(|(created, _)| *created).take(spare).collect();
        for created in oldest {
            streams.remove(&created);
        }
        Snapshot {
            covers: self.tip,
            generation: Some(self.generation),
            barrier: self.barrier,
            streams,
            claims: self.claims.clone(),
            tokens: self.tokens.clone(),
            forgotten: self.forgotten,
        }
    }

    /// Begins at a snapshot. A reader that has read all before it has the same already.
    pub(super) fn begin(
        &mut self,
        seq: u64,
        id: Nonce,
        snapshot: &Snapshot,
    ) -> Result<(), LogError> {
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
        self.barrier = snapshot.barrier;
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

    pub(super) fn advance(&mut self, tip: Place) {
        self.tip = tip;
        self.recent.push_back(tip);
        if self.recent.len() > RECENT_PLACES_MAX {
            self.recent.pop_front();
        }
    }

    /// Reports whether a record was read at a place, among the newest.
    pub(super) fn has_read(&self, place: Place) -> bool {
        self.recent.contains(&place)
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

    /// Checks a record of this generation for signs that the log lost records.
    pub(super) fn check(&self, seq: u64, record: &Record) -> Result<(), LogError> {
        if record.body == Body::Lost {
            return Err(LogError::Announced { seq });
        }
        if !self.may_have_read(record.tip) {
            let seq = record.tip.seq;
            return Err(LogError::Lost { seq });
        }
        Ok(())
    }
}
