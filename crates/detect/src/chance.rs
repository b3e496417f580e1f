//! Chance that a subject is compromised: what feedback and evidence say, and how it fades.

use serde::{Deserialize, Serialize};

use crate::odds;
use crate::time::remaining;

/// Probability that a wallet or a counterparty is compromised, as of a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    probability: f32,
    at_us: i64,
}

/// Beliefs about subjects of a kind, before any evidence.
#[derive(Debug, Clone, Copy)]
pub struct Belief {
    /// Share of the subjects that are compromised at a time.
    pub prior: f64,
    /// Time after which 1/e of what evidence said is left, in microseconds.
    pub tau_us: i64,
    /// Share of a compromised subject's signals that are unusual, from 0 to 1.
    pub hit_rate: f64,
}

impl Default for Chance {
    /// Marks a subject without evidence: see [`Chance::at`].
    fn default() -> Self {
        Self {
            probability: -1.0,
            at_us: 0,
        }
    }
}

impl Chance {
    /// Probability at a time: it returns to the prior, without evidence.
    pub fn at(&self, now_us: i64, belief: &Belief) -> f64 {
        if self.probability < 0.0 {
            return belief.prior;
        }
        let left = remaining(now_us - self.at_us, belief.tau_us);
        belief.prior + (f64::from(self.probability) - belief.prior) * left
    }

    /// Adds evidence with a Bayes factor, and returns the new probability.
    pub fn update(&mut self, now_us: i64, factor: f64, belief: &Belief) -> f64 {
        let now = odds::updated(self.at(now_us, belief), factor);
        self.probability = now as f32;
        self.at_us = self.at_us.max(now_us);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DAY_US;

    const BELIEF: Belief = Belief {
        prior: 0.003,
        tau_us: 10 * DAY_US,
        hit_rate: 0.5,
    };

    #[test]
    fn evidence_fades_over_days() {
        let mut chance = Chance::default();
        assert!((chance.at(5 * DAY_US, &BELIEF) - 0.003).abs() < 1e-9);
        let now = chance.update(0, 1000.0, &BELIEF);
        assert!((now - 0.75).abs() < 0.01, "{now}");
        let later = chance.at(10 * DAY_US, &BELIEF);
        assert!((later - 0.28).abs() < 0.01, "{later}");
        assert!((chance.at(1000 * DAY_US, &BELIEF) - 0.003).abs() < 1e-6);
    }

    #[test]
    fn no_evidence_makes_a_chance_certain() {
        let mut chance = Chance::default();
        for _ in 0..1_000 {
            chance.update(0, f64::INFINITY, &BELIEF);
        }
        assert!(chance.at(0, &BELIEF) < 0.991);
        for _ in 0..1_000 {
            chance.update(0, 0.0, &BELIEF);
        }
        assert!(chance.at(0, &BELIEF) > 0.0);
    }
}
