//! Queries of the log's state.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{Log, Standing, StoredEntry};
use crate::entry::Fate;
use crate::id::Position;

/// Most ranges that [`Log::to_explain`] returns; beyond that it joins neighbors.
const RANGES_MAX: usize = 256;

impl Log {
    /// Returns messages that reveal a stream that went back: after a connect, each must be in the
    /// stream with its publish time, or deleted from it. They are the newest claimed message, and
    /// the newest of each open claim.
    pub fn witnesses(&self, stream_created_ns: i64) -> BTreeSet<Position> {
        let stream = self.streams.get(&stream_created_ns);
        let newest = stream.into_iter().flat_map(|stream| &stream.witnesses);
        let blocks = self.claims.values().map(|claim| &claim.block);
        let blocks = blocks.filter(|block| block.stream_created_ns == stream_created_ns);
        let open = blocks.filter_map(|block| block.entries.last());
        let open = open.map(|entry| (entry.stream_seq, entry.published_ns));
        let position = |(stream_seq, published_ns)| Position {
            stream_created_ns,
            stream_seq,
            published_ns,
        };
        newest.copied().chain(open).map(position).collect()
    }

    /// Returns the sequence up to which messages without a record may be stored all the same.
    pub fn doubt(&self, stream_created_ns: i64) -> u64 {
        let stream = self.streams.get(&stream_created_ns);
        stream.map_or(0, |stream| stream.doubt)
    }

    /// Returns the log position of the record that last rewound a stream; 0 if there is none.
    pub fn rewound(&self, stream_created_ns: i64) -> u64 {
        let stream = self.streams.get(&stream_created_ns);
        stream.map_or(0, |stream| stream.rewound)
    }

    /// Returns the last sequence of a stream that was ever claimed, done or in doubt.
    pub fn last(&self, stream_created_ns: i64) -> u64 {
        let stream = self.streams.get(&stream_created_ns);
        stream.map_or(0, |stream| stream.last())
    }

    /// Returns the sequences right above the floor that no claim contains, if some above them are
    /// done, or they are in doubt. They may have no message, or the consumer does not deliver their
    /// messages, which were acked long ago.
    pub fn stuck_sequences(&self, stream_created_ns: i64) -> Option<RangeInclusive<u64>> {
        self.streams.get(&stream_created_ns)?.stuck_sequences()
    }

    /// Returns ranges of sequences whose rows or dead letters need a record that explains them:
    /// those in open claims, and those above the floor and the doubt that are not done. The last
    /// range has no end. The log explains all entries outside of them: see [`Self::explains`].
    pub fn to_explain(&self, stream_created_ns: i64) -> Vec<RangeInclusive<u64>> {
        let Some(stream) = self.streams.get(&stream_created_ns) else {
            return vec![0..=u64::MAX];
        };
        merged(stream.to_explain(), RANGES_MAX)
    }

    /// Returns the last fence of an open claim, or of one whose token must stay in the window, in
    /// ClickHouse's seconds; far in the past if there is none.
    pub fn last_fence(&self) -> i64 {
        let open = self.claims.values().map(|claim| claim.block.fence);
        let tokens = self.tokens.keys().copied();
        tokens.chain(open).fold(i64::MIN, i64::max)
    }

    /// Reports whether a record explains a stored entry: a row belongs to the open claim of its
    /// message, and a dead letter to no row.
    pub fn explains(&self, stored: &StoredEntry) -> bool {
        let Position {
            stream_created_ns,
            stream_seq,
            ..
        } = stored.position;
        let stream = self.streams.get(&stream_created_ns);
        let is_in_doubt = stream.is_some_and(|stream| stream_seq <= stream.doubt);
        let claim = match self.standing(stored.position) {
            Standing::Claimed(claim) => claim,
            Standing::Other | Standing::Free => return is_in_doubt,
            Standing::Done | Standing::Doubtful => return true,
        };
        let block = self.claims.get(&claim).map(|claim| &claim.block);
        let entry = block.and_then(|block| block.entry(stream_seq));
        let is_row = entry.is_some_and(|entry| entry.fate == Fate::Row);
        match stored.claim {
            Some(stored) => is_row && stored == claim,
            None => !is_row,
        }
    }
}

/// Joins the neighbors with the smallest gaps until at most `max` ranges are left.
fn merged(ranges: Vec<RangeInclusive<u64>>, max: usize) -> Vec<RangeInclusive<u64>> {
    let excess = ranges.len().saturating_sub(max);
    if excess == 0 {
        return ranges;
    }
    let gap = |pair: &[RangeInclusive<u64>]| pair[1].start() - pair[0].end();
    let mut gaps: Vec<u64> = ranges.windows(2).map(gap).collect();
    gaps.sort_unstable();
    let widest = gaps[excess - 1];
    let mut all: Vec<RangeInclusive<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start() - last.end() <= widest => {
                *last = *last.start()..=*range.end();
            }
            _ => all.push(range),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_with_the_smallest_gaps_are_joined() {
        let ranges = vec![1..=2, 4..=5, 100..=110, 113..=200, 900..=u64::MAX];
        assert_eq!(merged(ranges.clone(), 5), ranges);
        assert_eq!(
            merged(ranges.clone(), 4),
            [1..=5, 100..=110, 113..=200, 900..=u64::MAX]
        );
        assert_eq!(merged(ranges, 3), [1..=5, 100..=200, 900..=u64::MAX]);
    }
}
