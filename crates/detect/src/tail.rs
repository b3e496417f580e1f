//! Tails of scores: the probability that a score is at least as large as this one.

use serde::{Deserialize, Serialize};

/// Bins of each doubling of 1 + score.
const BINS_AN_OCTAVE: u32 = 64;
/// Doublings: scores up to 4,095 have their own bin.
const OCTAVES: u32 = 12;
const BINS: usize = (BINS_AN_OCTAVE * OCTAVES) as usize;
/// Bits of a float's fraction that a bin leaves out.
const SHIFT: u32 = 23 - BINS_AN_OCTAVE.trailing_zeros();
/// Signals between two sums of the bins.
const SUM_EVERY: u32 = 256;
/// Signals before a tail has a meaning.
const COUNT_MIN: f64 = 100.0;

/// Decayed histogram of one detector's scores.
///
/// It makes unlike scores comparable: each becomes the share of this detector's own scores that
/// were as large. Bins are 1.1 % wide. Sums are renewed each 256 scores, so a look-up costs no
/// loop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tail {
    counts: Vec<f64>,
    total: f64,
    /// For each bin the count in it and above, as of the last sum.
    above: Vec<f64>,
    above_total: f64,
    until_sum: u32,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            counts: vec![0.0; BINS],
            total: 0.0,
            above: vec![0.0; BINS + 1],
            above_total: 0.0,
            until_sum: 1,
        }
    }
}

impl Tail {
    /// Probability of a score at least as large; `None` before 100 scores. Never 0.
    pub fn probability(&self, score: f64) -> Option<f64> {
        if self.above_total < COUNT_MIN {
            return None;
        }
        let bin = bin(score);
        let (inclusive, exclusive) = (self.above[bin], self.above[bin + 1]);
        let middle = f64::midpoint(inclusive, exclusive);
        Some((middle + 0.5) / (self.above_total + 1.0))
    }

    /// Adds a score.
    pub fn add(&mut self, score: f64) {
        self.counts[bin(score)] += 1.0;
        self.total += 1.0;
        self.until_sum -= 1;
        if self.until_sum == 0 {
            // More often at first, when each score matters.
            self.until_sum = (self.total as u32 / 8).clamp(1, SUM_EVERY);
            self.sum();
        }
    }

    /// Score that a share of the scores reaches; infinite before 100 scores.
    pub fn quantile(&self, share: f64) -> f64 {
        if self.above_total < COUNT_MIN {
            return f64::INFINITY;
        }
        let wanted = share * self.above_total;
        // The first bin with no more than the wanted count at and above it.
        let bin = self.above.partition_point(|above| *above > wanted);
        lower_bound(bin)
    }

    /// Multiplies all counts, by a factor from 0 to 1.
    pub fn decay(&mut self, factor: f64) {
        for count in &mut self.counts {
            *count *= factor;
        }
        self.total *= factor;
        self.sum();
    }

    /// Reports whether a snapshot's parts belong together.
    pub fn is_sound(&self) -> bool {
        let counts = self.counts.iter().chain(&self.above);
        self.counts.len() == BINS
            && self.above.len() == BINS + 1
            && (1..=SUM_EVERY).contains(&self.until_sum)
            && counts
                .chain([&self.total, &self.above_total])
                .all(|count| *count >= 0.0)
    }

    fn sum(&mut self) {
        let mut sum = 0.0;
        for (above, count) in self.above.iter_mut().zip(&self.counts).rev() {
            sum += count;
            *above = sum;
        }
        // `rev` on a zip of unequal lengths drops the longer one's end: the last stays 0.
        self.above_total = sum;
    }
}

/// Bin of a score: the leading bits of the float 1 + score. The first has those below 0, and NaN.
fn bin(score: f64) -> usize {
    if score > 0.0 {
        let bits = (1.0 + score.min(1e6) as f32).to_bits();
        (((bits - 1.0_f32.to_bits()) >> SHIFT) as usize).min(BINS - 1)
    } else {
        0
    }
}

/// Least score of a bin; infinite above the last.
fn lower_bound(bin: usize) -> f64 {
    if bin >= BINS {
        return f64::INFINITY;
    }
    f64::from(f32::from_bits(1.0_f32.to_bits() + ((bin as u32) << SHIFT)) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_the_share_of_larger_scores() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.add(f64::from(number) / 100.0);
        }
        for (score, expected) in [(0.0, 1.0), (50.0, 0.5), (90.0, 0.1), (99.0, 0.01)] {
            let probability = tail.probability(score).unwrap();
            assert!(
                (probability - expected).abs() < 0.03,
                "{score}: {probability}"
            );
        }
        assert!(tail.probability(1e9).unwrap() > 0.0);
        assert!((tail.quantile(0.1) - 90.0).abs() < 2.0);
    }

    #[test]
    fn a_tail_says_nothing_before_it_has_seen_some() {
        let mut tail = Tail::default();
        for _ in 0..99 {
            tail.add(1.0);
        }
        assert_eq!(tail.probability(1.0), None);
        assert_eq!(tail.quantile(0.01), f64::INFINITY);
    }

    #[test]
    fn any_float_has_a_bin() {
        for score in [
            f64::NAN,
            f64::INFINITY,
            -f64::INFINITY,
            -1.0,
            0.0,
            1e300,
            1e-300,
        ] {
            assert!(bin(score) < BINS, "{score}");
        }
        for index in 0..BINS {
            assert_eq!(bin(lower_bound(index)), index);
        }
    }

    #[test]
    fn old_scores_fade() {
        let mut tail = Tail::default();
        for _ in 0..1_000 {
            tail.add(100.0);
        }
        tail.decay(0.1);
        for _ in 0..900 {
            tail.add(0.0);
        }
        assert!(tail.probability(50.0).unwrap() < 0.15);
    }
}
