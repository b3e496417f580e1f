//! Sequences in open claims, by claim. There are few at a time, so each is asked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rangemap::{RangeInclusiveMap, RangeInclusiveSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sequence_set::SequenceSet;
use crate::id::Nonce;

/// The open claims of one stream, none of them empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OpenClaims(BTreeMap<Nonce, SequenceSet>);

impl OpenClaims {
    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the claim of a sequence.
    #[inline]
    pub fn claim(&self, seq: u64) -> Option<Nonce> {
        let mut claims = self.0.iter();
        claims.find_map(|(claim, set)| set.contains(seq).then_some(*claim))
    }

    /// Adds ranges to a claim; none of them is in another one.
    pub fn insert(&mut self, claim: Nonce, ranges: impl Iterator<Item = RangeInclusive<u64>>) {
        let mut set = self.0.remove(&claim).unwrap_or_default();
        ranges.for_each(|range| set.insert(range));
        if !set.is_empty() {
            self.0.insert(claim, set);
        }
    }

    /// Removes a claim.
    pub fn close(&mut self, claim: Nonce) {
        self.0.remove(&claim);
    }

    /// Removes a range from all claims.
    pub fn remove(&mut self, range: &RangeInclusive<u64>) {
        self.0.retain(|_, set| {
            set.remove(range.clone());
            !set.is_empty()
        });
    }

    /// Returns the first sequence.
    pub fn first(&self) -> Option<u64> {
        self.0.values().filter_map(SequenceSet::first).min()
    }

    /// Returns the last sequence.
    pub fn last(&self) -> Option<u64> {
        self.0.values().filter_map(SequenceSet::last).max()
    }

    /// Iterates over the claims with their sequences.
    pub fn iter(&self) -> impl Iterator<Item = (Nonce, &SequenceSet)> {
        self.0.iter().map(|(claim, set)| (*claim, set))
    }

    /// Returns the sequences of all claims as ranges with a gap between any two.
    pub fn ranges(&self) -> RangeInclusiveSet<u64> {
        let each = self.0.values().map(SequenceSet::ranges);
        each.flatten().collect()
    }
}

/// Written as a map of ranges, as every release reads it.
impl Serialize for OpenClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = RangeInclusiveMap::new();
        for (claim, set) in self.iter() {
            set.ranges()
                .into_iter()
                .for_each(|range| map.insert(range, claim));
        }
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OpenClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut open = Self::default();
        for (range, claim) in RangeInclusiveMap::<u64, Nonce>::deserialize(deserializer)? {
            open.insert(claim, std::iter::once(range));
        }
        Ok(open)
    }
}
