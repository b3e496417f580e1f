//! A set of sequences that is fast where two instances or more take turns.
//!
//! JetStream hands messages to the pulls of all instances in turns, so of four instances each
//! claims every fourth sequence, and a range for each would be a tree with an entry a message. The
//! sequences near each other are bits of one window; those far off are ranges.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

use rangemap::RangeInclusiveSet;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sequences of a word.
const WORD: u64 = u64::BITS as u64;
/// Words of the window, at most: 128 KiB for a million sequences.
const WORDS_MAX: usize = 16 * 1024;
/// Words that any window may have.
const WORDS_MIN: usize = 16;
/// Words that the window may have besides for each range that was added: as much as the node of a
/// tree. So a few sequences far from each other take no large window, whoever publishes them.
const WORDS_A_RANGE: usize = 8;

/// Sequences in any order, each once.
#[derive(Debug, Clone, Default)]
pub struct SequenceSet {
    /// First sequence of the window: a multiple of [`WORD`].
    base: u64,
    /// A bit for each sequence from `base` on, the lowest first. The last word is not zero.
    window: VecDeque<u64>,
    /// Sequences that were outside the window when they were added.
    far: RangeInclusiveSet<u64>,
    /// Ranges that were added since the window was empty.
    added: usize,
}

impl SequenceSet {
    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty() && self.far.is_empty()
    }

    /// Reports whether it has a sequence.
    #[inline]
    pub fn contains(&self, seq: u64) -> bool {
        self.word_of(seq)
            .and_then(|index| self.window.get(index))
            .is_some_and(|word| word & bit(seq) != 0)
            || !self.far.is_empty() && self.far.contains(&seq)
    }

    /// Adds the sequences of a range.
    pub fn insert(&mut self, range: RangeInclusive<u64>) {
        let (first, last) = (*range.start(), *range.end());
        if first > last {
            return;
        }
        if self.window.is_empty() {
            self.base = first - first % WORD;
            self.added = 0;
        }
        self.added = self.added.saturating_add(1);
        let earned = WORDS_A_RANGE.saturating_mul(self.added) + WORDS_MIN;
        let words_max = WORDS_MAX.min(earned).max(self.window.len());
        let words = self.word_of(last).map(|index| index + 1);
        let Some(words) = words.filter(|words| first >= self.base && *words <= words_max) else {
            self.far.insert(range);
            return;
        };
        if self.window.len() < words {
            self.window.resize(words, 0);
        }
        self.in_words(first, last, |word, mask| *word |= mask);
    }

    /// Removes the sequences of a range.
    pub fn remove(&mut self, range: RangeInclusive<u64>) {
        let (first, last) = (*range.start(), *range.end());
        if first > last {
            return;
        }
        if !self.far.is_empty() {
            self.far.remove(range);
        }
        let Some(in_window) = self.last_word_end() else {
            return;
        };
        let (first, last) = (first.max(self.base), last.min(in_window));
        if first <= last {
            self.in_words(first, last, |word, mask| *word &= !mask);
        }
        while self.window.pop_back_if(|word| *word == 0).is_some() {}
        while self.window.pop_front_if(|word| *word == 0).is_some() {
            // Overflows only for the last word of all numbers, and then the window is empty.
            self.base = self.base.saturating_add(WORD);
        }
    }

    /// Returns the last sequence of those without a gap from `first` on; `None` if it lacks
    /// `first`.
    pub fn run(&self, first: u64) -> Option<u64> {
        let mut end = None;
        let mut next = first;
        loop {
            let in_window = self.run_in_window(next);
            let in_far = self.far.get(&next).map(|range| *range.end());
            let Some(found) = in_window.max(in_far) else {
                return end;
            };
            end = Some(found);
            let Some(above) = found.checked_add(1) else {
                return end;
            };
            next = above;
        }
    }

    /// Returns the first sequence.
    pub fn first(&self) -> Option<u64> {
        let lowest = self.window.iter().position(|word| *word != 0);
        let in_window = lowest.map(|index| {
            let bits = u64::from(self.window[index].trailing_zeros());
            self.base + index as u64 * WORD + bits
        });
        let in_far = self.far.first().map(|range| *range.start());
        [in_window, in_far].into_iter().flatten().min()
    }

    /// Returns the last sequence.
    pub fn last(&self) -> Option<u64> {
        let in_window = self.window.back().map(|word| {
            let above = self.base + (self.window.len() as u64 - 1) * WORD;
            above + (WORD - 1 - u64::from(word.leading_zeros()))
        });
        let in_far = self.far.last().map(|range| *range.end());
        in_window.max(in_far)
    }

    /// Returns the sequences as ranges with a gap between any two.
    pub fn ranges(&self) -> RangeInclusiveSet<u64> {
        let mut all = self.far.clone();
        all.extend(self.in_window());
        all
    }

    /// Iterates over ranges that have all sequences, in any order; some may be adjacent.
    pub fn runs(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.in_window().chain(self.far.iter().cloned())
    }

    /// Returns the ranges of `range` that it lacks.
    pub fn gaps(&self, range: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let (mut next, last) = (*range.start(), *range.end());
        let mut gaps = Vec::new();
        while next <= last {
            let end = self.run(next).unwrap_or_else(|| {
                let end = match self.next(next, last) {
                    Some(found) => found - 1,
                    None => last,
                };
                gaps.push(next..=end);
                end
            });
            let Some(above) = end.checked_add(1) else {
                break;
            };
            next = above;
        }
        gaps
    }

    /// Returns the first sequence from `first`, which it lacks, to `last`.
    fn next(&self, first: u64, last: u64) -> Option<u64> {
        let in_window = self.next_in_window(first.max(self.base));
        let in_far = self.far.overlapping(first..=last).next();
        let in_far = in_far.map(|range| *range.start());
        let found = [in_window, in_far].into_iter().flatten().min()?;
        (found <= last).then_some(found)
    }

    /// Iterates over the runs in the window.
    fn in_window(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut next = Some(self.base);
        std::iter::from_fn(move || {
            let first = self.next_in_window(next?)?;
            let last = self.run_in_window(first)?;
            next = last.checked_add(1);
            Some(first..=last)
        })
    }

    /// Returns the word of a sequence; `None` below the window.
    #[inline]
    fn word_of(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.base)? / WORD).ok()
    }

    /// Last sequence of the window's last word.
    fn last_word_end(&self) -> Option<u64> {
        let words = self.window.len().checked_sub(1)? as u64;
        Some(self.base + words * WORD + (WORD - 1))
    }

    /// Applies `change` to the words from `first` to `last`, which are in the window, with a mask
    /// of the sequences.
    fn in_words(&mut self, first: u64, last: u64, mut change: impl FnMut(&mut u64, u64)) {
        let base = self.base;
        let index = |seq: u64| ((seq - base) / WORD) as usize;
        let (from, to) = (index(first), index(last));
        for (at, word) in self.window.range_mut(from..=to).enumerate() {
            let mut mask = u64::MAX;
            if at == 0 {
                mask &= u64::MAX << (first % WORD);
            }
            if from + at == to {
                mask &= u64::MAX >> (WORD - 1 - last % WORD);
            }
            change(word, mask);
        }
    }

    /// Returns the end of a run, by the window alone.
    fn run_in_window(&self, first: u64) -> Option<u64> {
        let mut index = self.word_of(first)?;
        let shift = first % WORD;
        let ones = u64::from((self.window.get(index)? >> shift).trailing_ones());
        if ones == 0 {
            return None;
        }
        let mut end = first + (ones - 1);
        let mut is_full = shift + ones == WORD;
        while is_full {
            index += 1;
            let word = self.window.get(index).copied().unwrap_or_default();
            let ones = u64::from(word.trailing_ones());
            end += ones;
            is_full = ones == WORD;
        }
        Some(end)
    }

    /// Returns the first sequence of the window from `seq` on.
    fn next_in_window(&self, seq: u64) -> Option<u64> {
        let start = self.word_of(seq)?;
        let mut mask = u64::MAX << (seq % WORD);
        for (index, word) in self.window.iter().enumerate().skip(start) {
            let found = word & mask;
            if found != 0 {
                return Some(self.base + index as u64 * WORD + u64::from(found.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        None
    }
}

#[inline]
fn bit(seq: u64) -> u64 {
    1 << (seq % WORD)
}

impl PartialEq for SequenceSet {
    fn eq(&self, other: &Self) -> bool {
        self.ranges() == other.ranges()
    }
}

impl Eq for SequenceSet {}

impl Hash for SequenceSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ranges().hash(state);
    }
}

/// Written as ranges, as every release reads them.
impl Serialize for SequenceSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ranges().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SequenceSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = Self::default();
        for (first, last) in Vec::deserialize(deserializer)? {
            set.insert(checked(first, last)?);
        }
        Ok(set)
    }
}

/// Returns a range that was read; rangemap panics at one that ends before it begins.
pub fn checked<E: Error>(first: u64, last: u64) -> Result<RangeInclusive<u64>, E> {
    match first <= last {
        true => Ok(first..=last),
        false => Err(E::custom("a range that ends before it begins")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sequences near each other, near the ends of the window, and near those of all numbers.
    fn seq() -> impl Strategy<Value = u64> {
        let end = WORDS_MAX as u64 * WORD;
        let growth = (WORDS_MIN + 2 * WORDS_A_RANGE) as u64 * WORD;
        prop_oneof![
            0..200u64,
            growth - 130..growth + 200,
            end - 130..end + 200,
            2 * end..2 * end + 70,
            u64::MAX - 130..=u64::MAX,
        ]
    }

    fn range() -> impl Strategy<Value = RangeInclusive<u64>> {
        let short = (seq(), 0..70u64).prop_map(|(first, more)| first..=first.saturating_add(more));
        let long = (seq(), seq()).prop_map(|(one, two)| one.min(two)..=one.max(two));
        prop_oneof![8 => short, 1 => long]
    }

    #[test]
    fn a_few_sequences_far_from_each_other_take_no_large_window() {
        let mut set = SequenceSet::default();
        for number in 0..17 {
            set.insert(number * 65_472..=number * 65_472);
        }
        assert!(set.window.len() <= WORDS_MIN + 17 * WORDS_A_RANGE);
        assert_eq!(set.runs().count(), 17);
        // Every fourth of a million, in order.
        let mut set = SequenceSet::default();
        (0..250_000).for_each(|number| set.insert(number * 4..=number * 4));
        assert!(set.far.is_empty());
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_an_error() {
        let bytes = postcard::to_stdvec(&vec![(5u64, 3u64)]).unwrap();
        assert!(postcard::from_bytes::<SequenceSet>(&bytes).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_is_a_set_of_ranges(changes in prop::collection::vec((any::<bool>(), range()), 1..12), asked in seq()) {
            let (mut set, mut model) = (SequenceSet::default(), RangeInclusiveSet::new());
            for (adds, range) in changes {
                match adds {
                    true => {
                        set.insert(range.clone());
                        model.insert(range);
                    }
                    false => {
                        set.remove(range.clone());
                        model.remove(range);
                    }
                }
                prop_assert_eq!(&set.ranges(), &model);
                prop_assert_eq!(set.is_empty(), model.is_empty());
                prop_assert_eq!(set.first(), model.first().map(|range| *range.start()));
                prop_assert_eq!(set.last(), model.last().map(|range| *range.end()));
                let around = asked.saturating_sub(150)..=asked.saturating_add(300);
                let gaps: Vec<_> = model.gaps(&around).collect();
                prop_assert_eq!(set.gaps(&around), gaps);
                let mut runs = RangeInclusiveSet::new();
                runs.extend(set.runs());
                prop_assert_eq!(&runs, &model);
                for seq in [asked, asked.saturating_add(1), asked.saturating_sub(64)] {
                    prop_assert_eq!(set.contains(seq), model.contains(&seq));
                    prop_assert_eq!(set.run(seq), model.get(&seq).map(|range| *range.end()));
                }
            }
            let bytes = postcard::to_stdvec(&set).unwrap();
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&model).unwrap());
            let read: SequenceSet = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read, set);
        }
    }
}
