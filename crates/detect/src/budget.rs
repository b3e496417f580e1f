//! Budget of alerts: a threshold from the stream itself.

use serde::{Deserialize, Serialize};

use crate::tail::Tail;

/// Odds are kept in steps of 1/200, so a bin of the tail is at most 1.6 % of the odds from a
/// probability of 0.01 to one of 0.95.
const ODDS_SCALE: f64 = 200.0;
/// Share of a day's budget that may be saved for later, or overdrawn.
const CREDIT_MAX: f64 = 0.25;
/// Least day's budget that the controller assumes, in anomalies.
const DAY_MIN: f64 = 4.0;
/// Bounds of the factor between the budget and the share that the threshold aims at.
const FACTOR: (f64, f64) = (0.3, 3.0);

/// Threshold that lets a share of the signals pass.
///
/// It is the quantile of past odds, corrected by a credit: each scored signal earns the budget, and
/// each anomaly costs 1. No anomaly passes once a quarter of a day's budget is overdrawn. So each
/// day has at most 1.5 times the budget, and each longer time tends to it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Budget {
    odds: Tail,
    credit: f64,
    today: f64,
    day_before: f64,
}

impl Budget {
    /// Adds the odds of a signal. Returns `true` if the budget has room for it as an anomaly.
    ///
    /// While `is_open` is false (in the warm-up), nothing is earned and nothing passes.
    pub fn take(&mut self, odds: f64, share: f64, is_open: bool) -> bool {
        let day = (self.day_before.max(self.today) * share).max(DAY_MIN);
        self.today += 1.0;
        let mut passes = false;
        if is_open {
            let most = CREDIT_MAX * day;
            self.credit = (self.credit + share).min(most);
            let factor = (1.0 + self.credit / day / CREDIT_MAX).clamp(FACTOR.0, FACTOR.1);
            let threshold = self.odds.quantile((share * factor).min(0.9));
            passes = self.credit > -most && odds * ODDS_SCALE >= threshold;
        }
        self.odds.add(odds * ODDS_SCALE);
        passes
    }

    /// Spends the budget of an anomaly.
    pub fn spend(&mut self) {
        self.credit -= 1.0;
    }

    /// Begins a day, and forgets a share of past odds.
    pub fn begin_day(&mut self, factor: f64) {
        self.day_before = self.today;
        self.today = 0.0;
        self.odds.decay(factor);
    }

    /// Share of the signals with odds at least as large; `None` before 100 signals.
    pub fn tail(&self, odds: f64) -> Option<f64> {
        self.odds.probability(odds * ODDS_SCALE)
    }

    /// Reports whether a snapshot's parts belong together.
    pub fn is_sound(&self) -> bool {
        let numbers = [self.credit, self.today, self.day_before];
        self.odds.is_sound() && numbers.iter().all(|number| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_for_odds_of_any_shape() {
        for power in [1, 3, 9] {
            let mut budget = Budget::default();
            let mut random = 1_u64;
            for day in 0..30 {
                let mut spent = 0;
                for _ in 0..2_000 {
                    random = random
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let uniform = (random >> 11) as f64 / (1_u64 << 53) as f64;
                    // The level drifts: a fixed threshold would not hold.
                    let odds = uniform.powi(power) * (1.0 + f64::from(day) / 10.0);
                    if budget.take(odds, 0.01, day > 0) {
                        budget.spend();
                        spent += 1;
                    }
                }
                budget.begin_day(0.95);
                let expected = if day > 0 { 12..=30 } else { 0..=0 };
                assert!(expected.contains(&spent), "{power} {day}: {spent}");
            }
        }
    }
}
