//! Sequences of one stream: done, claimed, or free.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rangemap::RangeInclusiveSet;
use serde::{Deserialize, Serialize};

use super::open_claims::OpenClaims;
use super::sequence_set::SequenceSet;
use crate::id::Nonce;

/// Sequences of one stream. Done ones keep no publish time: the newest claimed message reveals a
/// stream that went back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamSequences {
    /// Sequence up to which all are done.
    pub floor: u64,
    /// Done sequences above the floor.
    pub done: SequenceSet,
    /// Sequences above the floor in open claims.
    pub open: OpenClaims,
    /// Sequence and publish time of the newest claimed message; several after a rebuild.
    pub witnesses: BTreeSet<(u64, i64)>,
    /// Sequence up to which free ones may be stored, and are looked up before they are claimed.
    pub doubt: u64,
    /// Log position of the record that rewound it last.
    pub rewound: u64,
}

impl StreamSequences {
    /// Creates a stream in which everything up to `floor` is done.
    pub fn new(floor: u64) -> Self {
        Self {
            floor,
            done: SequenceSet::default(),
            open: OpenClaims::default(),
            witnesses: BTreeSet::new(),
            doubt: 0,
            rewound: 0,
        }
    }

    /// Notes the last message of a claim, whose publisher had checked the witnesses.
    pub fn claimed(&mut self, stream_seq: u64, published_ns: i64) {
        if self.witnesses.iter().all(|(seq, _)| *seq <= stream_seq) {
            self.witnesses = BTreeSet::from([(stream_seq, published_ns)]);
        }
    }

    /// Returns the last sequence that was ever done or claimed.
    pub fn last(&self) -> u64 {
        let done = self.done.last().unwrap_or(0);
        let claimed = self.witnesses.last().map_or(0, |(seq, _)| *seq);
        let open = self.open.last().unwrap_or(0);
        let all = [self.floor, self.doubt, done, claimed, open];
        all.into_iter().fold(0, u64::max)
    }

    /// Returns the free sequences right above the floor, if some above them are done or they are in
    /// doubt.
    pub fn stuck_sequences(&self) -> Option<RangeInclusive<u64>> {
        let free = self.floor.checked_add(1)?;
        let end = match (self.done.first(), self.open.first()) {
            (Some(done), Some(open)) => done.min(open).saturating_sub(1),
            (Some(done), None) => done.saturating_sub(1),
            (None, Some(open)) => self.doubt.min(open.saturating_sub(1)),
            (None, None) => self.doubt,
        };
        (free <= end).then_some(free..=end)
    }

    /// Returns the ranges of sequences whose stored entries need an explaining record, rising.
    pub fn to_explain(&self) -> Vec<RangeInclusive<u64>> {
        let mut all = RangeInclusiveSet::new();
        if let Some(above) = self.floor.max(self.doubt).checked_add(1) {
            all.extend(self.done.gaps(&(above..=u64::MAX)));
        }
        all.extend(self.open.ranges());
        all.into_iter().collect()
    }

    /// Counts nothing above a message as done, since the stream has other messages there. Has no
    /// effect while a claim above it is open.
    pub fn rewind(&mut self, to: u64, published_ns: i64, place: u64) {
        let Some(above) = to.checked_add(1) else {
            return;
        };
        if self.open.last().is_some_and(|last| last >= above) {
            return;
        }
        self.doubt = self.doubt.max(self.last());
        self.floor = self.floor.min(to);
        self.done.remove(above..=u64::MAX);
        self.witnesses.clear();
        if to > 0 {
            self.witnesses.insert((to, published_ns));
        }
        self.rewound = place;
    }

    /// Reports whether a sequence is done.
    pub fn is_done(&self, stream_seq: u64) -> bool {
        stream_seq <= self.floor || self.done.contains(stream_seq)
    }

    /// Returns the open claim of a sequence.
    pub fn claim(&self, stream_seq: u64) -> Option<Nonce> {
        self.open.claim(stream_seq)
    }

    /// Puts sequences into an open claim. No other claim contains them: see [`Self::disown`].
    pub fn open(&mut self, sequences: impl Iterator<Item = u64>, claim: Nonce) {
        self.open.insert(claim, ranges(sequences));
    }

    /// Takes sequences from the claims that they are in.
    pub fn disown(&mut self, sequences: impl Iterator<Item = u64>) {
        ranges(sequences).for_each(|range| self.open.remove(&range));
    }

    /// Closes a claim, of whose sequences these are done.
    pub fn finish(&mut self, claim: Nonce, done: impl Iterator<Item = u64>) {
        self.open.close(claim);
        ranges(done).for_each(|range| self.done.insert(range));
        self.raise();
    }

    /// Merges the state that a process had read of the stream before the log lost records. This
    /// reading's done sequences stay done, unless only one of the two was rewound. Messages done
    /// later are in doubt, like all claimed ones: their records may be lost, or the dead letters
    /// may have gone back too.
    pub fn merge(&mut self, known: &Self) {
        self.doubt = self.last().max(known.last());
        if self.rewound != known.rewound {
            self.floor = self.floor.min(known.floor);
            self.done = SequenceSet::default();
        }
        // If two witnesses differ, the stream has at most one of them, and went back.
        self.witnesses.extend(&known.witnesses);
        self.open = OpenClaims::default();
        self.raise();
    }

    /// Counts free sequences of a range as done.
    pub fn finish_free(&mut self, range: RangeInclusive<u64>) {
        for range in self.open.gaps(&range) {
            self.done.insert(range);
        }
        self.raise();
    }

    /// Counts done sequences of a range as free and in doubt: the table may have lost their rows.
    /// Sequences in open claims stay there.
    pub fn reopen(&mut self, range: &RangeInclusive<u64>) {
        let first = (*range.start()).max(1);
        let last = (*range.end()).min(self.last());
        if first > last {
            return;
        }
        if first <= self.floor {
            if last < self.floor {
                self.done.insert(last + 1..=self.floor);
            }
            self.floor = first - 1;
        }
        self.done.remove(first..=last);
        self.doubt = self.doubt.max(last);
    }

    /// Closes a claim with this last sequence, and counts its sequences as free and in doubt.
    pub fn free(&mut self, claim: Nonce, last: u64) {
        self.doubt = self.doubt.max(last);
        self.open.close(claim);
    }

    /// Raises the floor over the done sequences right above it.
    fn raise(&mut self) {
        let above = self.floor.checked_add(1);
        if let Some(end) = above.and_then(|above| self.done.run(above)) {
            self.floor = end;
        }
        self.done.remove(0..=self.floor);
    }
}

/// Groups rising sequences into ranges.
fn ranges(sequences: impl Iterator<Item = u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
    let mut sequences = sequences.peekable();
    std::iter::from_fn(move || {
        let first = sequences.next()?;
        let mut last = first;
        while let Some(next) = sequences.next_if(|next| last.checked_add(1) == Some(*next)) {
            last = next;
        }
        Some(first..=last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rises_over_what_is_done_right_above_it() {
        let mut stream = StreamSequences::new(4);
        stream.open([5, 6].into_iter(), Nonce(1));
        stream.open([9].into_iter(), Nonce(2));
        stream.finish(Nonce(2), [9].into_iter());
        assert_eq!((stream.floor, stream.is_done(9)), (4, true));
        assert_eq!(stream.claim(6), Some(Nonce(1)));
        stream.finish(Nonce(1), [5, 6].into_iter());
        assert_eq!(stream.floor, 6);
        stream.finish_free(7..=8);
        assert_eq!(stream.floor, 9);
        assert!(stream.done.is_empty() && stream.open.is_empty());
    }

    #[test]
    fn only_claimed_and_free_sequences_need_an_explanation() {
        let mut stream = StreamSequences::new(4);
        stream.doubt = 7;
        assert_eq!(stream.stuck_sequences(), Some(5..=7));
        stream.open([6].into_iter(), Nonce(1));
        stream.open([12, 13].into_iter(), Nonce(3));
        assert_eq!(stream.stuck_sequences(), Some(5..=5));
        stream.open([9, 10].into_iter(), Nonce(2));
        stream.finish(Nonce(2), [9, 10].into_iter());
        assert_eq!(stream.to_explain(), [6..=6, 8..=8, 11..=u64::MAX]);
        stream.finish_free(5..=5);
        stream.finish(Nonce(1), [6].into_iter());
        assert_eq!(stream.stuck_sequences(), Some(7..=8));
        stream.finish_free(7..=8);
        // No sequence above it is done, and it is not in doubt.
        assert_eq!((stream.floor, stream.stuck_sequences()), (10, None));
    }

    #[test]
    fn a_reopened_range_is_in_doubt_and_the_rest_stays_done() {
        let mut stream = StreamSequences::new(9);
        stream.open([11].into_iter(), Nonce(1));
        stream.open([12].into_iter(), Nonce(2));
        stream.finish(Nonce(2), [12].into_iter());
        stream.reopen(&(4..=6));
        assert_eq!(
            (stream.floor, stream.doubt, stream.stuck_sequences()),
            (3, 6, Some(4..=6))
        );
        assert!(stream.is_done(7) && stream.is_done(9) && stream.is_done(12));
        stream.finish_free(4..=6);
        assert_eq!((stream.floor, stream.stuck_sequences()), (9, Some(10..=10)));
        // The open claim keeps its sequences, and none above the last one is in doubt.
        stream.reopen(&(0..=u64::MAX));
        assert_eq!((stream.floor, stream.doubt), (0, 12));
        assert_eq!(stream.claim(11), Some(Nonce(1)));
        assert_eq!(stream.stuck_sequences(), Some(1..=10));
        stream.finish(Nonce(1), [11].into_iter());
        assert!(stream.is_done(11) && !stream.is_done(12));
    }

    #[test]
    fn sequences_done_only_in_lost_records_are_in_doubt() {
        let mut remaining = StreamSequences::new(4);
        let mut known = remaining.clone();
        known.finish(Nonce(1), [5, 6].into_iter());
        remaining.merge(&known);
        assert_eq!((remaining.floor, remaining.doubt), (4, 6));
        assert_eq!(remaining.stuck_sequences(), Some(5..=6));
        known.rewound = 7;
        known.floor = 2;
        remaining.merge(&known);
        assert_eq!(
            (remaining.floor, remaining.stuck_sequences()),
            (2, Some(3..=6))
        );
    }

    #[test]
    fn an_absence_costs_nothing_by_the_claims_around_it() {
        let mut stream = StreamSequences::new(0);
        for claim in 0..4u64 {
            stream.open(
                (0..10_000).map(|seq| 1 + seq * 8 + claim),
                Nonce(u128::from(claim)),
            );
        }
        // Each of these looked at all open sequences: a minute.
        for free in 0..10_000 {
            stream.finish_free(5 + free * 8..=8 + free * 8);
        }
        assert!(
            (0..10_000).all(|free| stream.is_done(5 + free * 8) && !stream.is_done(4 + free * 8))
        );
    }

    #[test]
    fn a_claimed_sequence_is_not_absent() {
        let mut stream = StreamSequences::new(0);
        stream.open([2].into_iter(), Nonce(1));
        stream.finish_free(1..=3);
        assert_eq!(stream.floor, 1);
        assert!(!stream.is_done(2) && stream.is_done(3));
    }

    #[test]
    fn sequences_above_the_rewound_message_are_free() {
        let mut stream = StreamSequences::new(4);
        stream.open([5].into_iter(), Nonce(1));
        stream.open([6].into_iter(), Nonce(2));
        stream.claimed(6, 60);
        stream.rewind(3, 30, 9);
        // A claim above it is open.
        assert_eq!((stream.floor, stream.rewound), (4, 0));
        stream.finish(Nonce(2), [6].into_iter());
        stream.rewind(5, 50, 9);
        assert_eq!((stream.floor, stream.rewound), (4, 9));
        assert!(!stream.is_done(6) && stream.claim(5).is_some());
        assert_eq!(stream.witnesses, BTreeSet::from([(5, 50)]));
        stream.finish(Nonce(1), [5].into_iter());
        stream.rewind(0, 0, 10);
        assert_eq!((stream.floor, stream.rewound), (0, 10));
        assert!(stream.witnesses.is_empty());
    }
}
