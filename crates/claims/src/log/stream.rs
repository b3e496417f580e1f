//! Sequences of one stream: done, claimed, or free.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rangemap::{RangeInclusiveMap, RangeInclusiveSet};
use serde::{Deserialize, Serialize};

use crate::id::Nonce;

/// Sequences of one stream. Done ones keep no publish time: that a stream went
/// back is noticed by its newest claimed message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stream {
    /// All sequences up to it are done.
    pub floor: u64,
    /// Done sequences above the floor.
    pub done: RangeInclusiveSet<u64>,
    /// Sequences above the floor in open claims.
    pub open: RangeInclusiveMap<u64, Nonce>,
    /// Sequence and publish time of the newest claimed message; several after a rebuild.
    pub witnesses: BTreeSet<(u64, i64)>,
    /// Free sequences up to it may be stored, and are looked up before they are claimed.
    pub doubt: u64,
    /// The place of the record that rewound it last.
    pub rewound: u64,
}

impl Stream {
    /// A stream of which everything up to `floor` is done.
    pub fn new(floor: u64) -> Self {
        Self {
            floor,
            done: RangeInclusiveSet::new(),
            open: RangeInclusiveMap::new(),
            witnesses: BTreeSet::new(),
            doubt: 0,
            rewound: 0,
        }
    }

    /// Takes note of the last message of a claim, whose publisher had checked the witnesses.
    pub fn claimed(&mut self, stream_seq: u64, published_ns: i64) {
        if self.witnesses.iter().all(|(seq, _)| *seq <= stream_seq) {
            self.witnesses = BTreeSet::from([(stream_seq, published_ns)]);
        }
    }

    /// The last sequence that was ever done or claimed.
    pub fn last(&self) -> u64 {
        let done = self.done.last().map_or(0, |range| *range.end());
        let claimed = self.witnesses.last().map_or(0, |(seq, _)| *seq);
        let open = self.open.last_range_value();
        let open = open.map_or(0, |(range, _)| *range.end());
        let all = [self.floor, self.doubt, done, claimed, open];
        all.into_iter().fold(0, u64::max)
    }

    /// Counts nothing above a message as done, since the stream has other messages there. Void
    /// while a claim above it is open.
    pub fn rewind(&mut self, to: u64, published_ns: i64, place: u64) {
        let Some(above) = to.checked_add(1) else {
            return;
        };
        if self.open.overlaps(&(above..=u64::MAX)) {
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
        stream_seq <= self.floor || self.done.contains(&stream_seq)
    }

    /// The open claim that a sequence is in.
    pub fn claim(&self, stream_seq: u64) -> Option<Nonce> {
        self.open.get(&stream_seq).copied()
    }

    /// Puts sequences into an open claim.
    pub fn open(&mut self, sequences: impl Iterator<Item = u64>, claim: Nonce) {
        for range in ranges(sequences) {
            self.open.insert(range, claim);
        }
    }

    /// Counts sequences as done.
    pub fn finish(&mut self, sequences: impl Iterator<Item = u64>) {
        for range in ranges(sequences) {
            self.open.remove(range.clone());
            self.done.insert(range);
        }
        self.raise();
    }

    /// Joins another reading of the stream. Done is what is done in one of them, unless only
    /// one was rewound. What is claimed is in doubt.
    pub fn merge(&mut self, other: &Self) {
        self.doubt = self.last().max(other.last());
        if self.rewound == other.rewound {
            self.floor = self.floor.max(other.floor);
            self.done.extend(other.done.iter().cloned());
        } else {
            self.floor = self.floor.min(other.floor);
            self.done.clear();
        }
        // Where two differ, the stream has one of them at most, and went back.
        self.witnesses.extend(&other.witnesses);
        self.open.clear();
        self.raise();
    }

    /// Counts free sequences of a range as done.
    pub fn finish_free(&mut self, range: RangeInclusive<u64>) {
        let free: Vec<_> = self.open.gaps(&range).collect();
        for range in free {
            self.done.insert(range);
        }
        self.raise();
    }

    /// Raises the floor over what is done right above it.
    fn raise(&mut self) {
        while let Some(first) = self.done.first().cloned() {
            if *first.start() > self.floor.saturating_add(1) {
                return;
            }
            self.floor = self.floor.max(*first.end());
            self.done.remove(first);
        }
    }
}

/// Ranges of rising sequences.
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
        let mut stream = Stream::new(4);
        stream.open([5, 6, 9].into_iter(), Nonce(1));
        stream.finish([9].into_iter());
        assert_eq!((stream.floor, stream.is_done(9)), (4, true));
        assert_eq!(stream.claim(6), Some(Nonce(1)));
        stream.finish([5, 6].into_iter());
        assert_eq!(stream.floor, 6);
        stream.finish_free(7..=8);
        assert_eq!(stream.floor, 9);
        assert!(stream.done.is_empty() && stream.open.is_empty());
    }

    #[test]
    fn a_claimed_sequence_is_not_absent() {
        let mut stream = Stream::new(0);
        stream.open([2].into_iter(), Nonce(1));
        stream.finish_free(1..=3);
        assert_eq!(stream.floor, 1);
        assert!(!stream.is_done(2) && stream.is_done(3));
    }

    #[test]
    fn what_is_above_the_message_that_a_stream_went_back_to_is_free() {
        let mut stream = Stream::new(4);
        stream.open([5, 6].into_iter(), Nonce(1));
        stream.claimed(6, 60);
        stream.rewind(3, 30, 9);
        // A claim above it is open.
        assert_eq!((stream.floor, stream.rewound), (4, 0));
        stream.finish([6].into_iter());
        stream.rewind(5, 50, 9);
        assert_eq!((stream.floor, stream.rewound), (4, 9));
        assert!(!stream.is_done(6) && stream.claim(5).is_some());
        assert_eq!(stream.witnesses, BTreeSet::from([(5, 50)]));
        stream.finish([5].into_iter());
        stream.rewind(0, 0, 10);
        assert_eq!((stream.floor, stream.rewound), (0, 10));
        assert!(stream.witnesses.is_empty());
    }
}
