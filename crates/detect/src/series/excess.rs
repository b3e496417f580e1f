//! Tail of one statistic of a series: peaks over a threshold, with an exponential tail.

use serde::{Deserialize, Serialize};

/// Share of the values above the threshold.
const SHARE: f64 = 0.04;
/// Values that the tail remembers.
const MEMORY: f64 = 4_000.0;
/// Values before the tail has a meaning.
const COUNT_MIN: f64 = 50.0;
/// Largest excess that the tail learns from, in mean excesses.
const EXCESS_MAX: f64 = 30.0;
/// Least mean excess, as a share of the mean: a tail without spread would make all new values huge.
const MEAN_MIN: f64 = 0.2;
/// Step of the threshold, as a share of the mean.
const STEP: f64 = 0.02;

/// Threshold that a share of the values exceeds, and the mean excess.
///
/// A value's score is its excess in mean excesses, so the score falls where values are often large.
/// It is -ln of the tail probability below the threshold's, if the tail is exponential (Siffer et
/// al. 2017, "Anomaly detection in streams with extreme value theory").
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Excess {
    count: f64,
    threshold: f64,
    excess: f64,
    mean: f64,
}

impl Excess {
    /// Scores a value of at least 0, and learns from it. The score is at least 0, and 0 for the
    /// first 50.
    pub fn take(&mut self, value: f64) -> f64 {
        self.count += 1.0;
        let is_warm = self.count > COUNT_MIN;
        let (mut score, mut learned) = (0.0, value);
        if is_warm {
            let unit = self.excess.max(MEAN_MIN * self.mean).max(1e-9);
            score = ((value - self.threshold) / unit).max(0.0);
            learned = value.min(self.threshold + EXCESS_MAX * self.excess);
        }
        self.mean += weight(self.count, MEMORY) * (learned - self.mean);
        let step = self.mean * (3.0 / self.count).max(STEP);
        if value > self.threshold {
            let weight = weight(self.count * SHARE + 1.0, MEMORY * SHARE);
            self.excess += weight * (learned - self.threshold - self.excess);
            self.threshold += step * (1.0 - SHARE);
        } else {
            self.threshold -= step * SHARE;
        }
        score
    }
}

/// Weight of the newest of `count` values in a mean that remembers `memory` of them.
pub fn weight(count: f64, memory: f64) -> f64 {
    (1.0 / count.max(1.0)).max(1.0 / memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beyond_the_tail_scores_high_and_often_large_ones_low() {
        let score_after = |period: u32| {
            let mut excess = Excess::default();
            for number in 0..3_000 {
                let usual = f64::from(number * 7_919 % 1_000) / 1_000.0;
                excess.take(if number % period == period - 1 {
                    20.0
                } else {
                    usual
                });
            }
            excess.take(20.0)
        };
        assert!(score_after(10_000) > 20.0, "{}", score_after(10_000));
        assert!(score_after(30) < 5.0, "{}", score_after(30));
    }
}
