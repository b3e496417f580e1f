//! Sequences in open claims, by claim.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rangemap::{RangeInclusiveMap, RangeInclusiveSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sequence_set::{SequenceSet, checked};
use crate::id::Nonce;

/// The open claims of one stream, none of them empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OpenClaims {
    claims: BTreeMap<Nonce, SequenceSet>,
    /// The sequences of all: most questions are about one that no claim has.
    all: SequenceSet,
}

impl OpenClaims {
    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Returns the claim of a sequence.
    #[inline]
    pub fn claim(&self, seq: u64) -> Option<Nonce> {
        if !self.all.contains(seq) {
            return None;
        }
        let mut claims = self.claims.iter();
        claims.find_map(|(claim, set)| set.contains(seq).then_some(*claim))
    }

    /// Adds ranges to a claim; none of them is in another one.
    pub fn insert(&mut self, claim: Nonce, ranges: impl Iterator<Item = RangeInclusive<u64>>) {
        let mut set = self.claims.remove(&claim).unwrap_or_default();
        for range in ranges {
            self.all.insert(range.clone());
            set.insert(range);
        }
        if !set.is_empty() {
            self.claims.insert(claim, set);
        }
    }

    /// Removes a claim.
    pub fn close(&mut self, claim: Nonce) {
        let set = self.claims.remove(&claim).unwrap_or_default();
        set.runs().for_each(|range| self.all.remove(range));
    }

    /// Removes a range from all claims.
    pub fn remove(&mut self, range: &RangeInclusive<u64>) {
        self.all.remove(range.clone());
        self.claims.retain(|_, set| {
            set.remove(range.clone());
            !set.is_empty()
        });
    }

    /// Returns the first sequence.
    pub fn first(&self) -> Option<u64> {
        self.all.first()
    }

    /// Returns the last sequence.
    pub fn last(&self) -> Option<u64> {
        self.all.last()
    }

    /// Iterates over the claims with their sequences.
    pub fn iter(&self) -> impl Iterator<Item = (Nonce, &SequenceSet)> {
        self.claims.iter().map(|(claim, set)| (*claim, set))
    }

    /// Returns the sequences of all claims as ranges with a gap between any two.
    pub fn ranges(&self) -> RangeInclusiveSet<u64> {
        self.all.ranges()
    }

    /// Returns the ranges of `range` that are in no claim.
    pub fn gaps(&self, range: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        self.all.gaps(range)
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
        for ((first, last), claim) in Vec::deserialize(deserializer)? {
            open.insert(claim, std::iter::once(checked(first, last)?));
        }
        Ok(open)
    }
}
