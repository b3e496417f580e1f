//! Evidence as odds: from tail probabilities to Bayes factors to one probability.

/// Bounds of a probability, so that no odds are infinite.
const PROBABILITY_MIN: f64 = 1e-9;

/// Natural logarithm of the Bayes factor for "unusual" of a tail probability.
///
/// Ordinary signals have uniform tail probabilities. Unusual ones are assumed to follow the beta
/// distribution with parameters `shape` and 1, whose density is `shape * p^(shape - 1)` (Sellke,
/// Bayarri and Berger 2001, "Calibration of p values"). With a shape of 0.1, a tail of 1/1000
/// multiplies the odds by 50, and a tail of 1/2 by 0.19.
pub fn ln_bayes_factor(tail: f64, shape: f64) -> f64 {
    let tail = tail.clamp(PROBABILITY_MIN, 1.0);
    libm::log(shape) + (shape - 1.0) * libm::log(tail)
}

/// Probability of odds.
pub fn probability(odds: f64) -> f64 {
    let odds = odds.clamp(0.0, 1.0 / PROBABILITY_MIN);
    odds / (1.0 + odds)
}

/// Probability that at least one of independent causes holds.
pub fn any(probabilities: impl IntoIterator<Item = f64>) -> f64 {
    let none = probabilities
        .into_iter()
        .map(|one| 1.0 - one.clamp(0.0, 1.0));
    1.0 - none.product::<f64>()
}

/// Probability after evidence with a Bayes factor.
pub fn updated(probability: f64, factor: f64) -> f64 {
    let factor = factor.clamp(1e-6, 1e6);
    let yes = probability * factor;
    (yes / (yes + 1.0 - probability)).clamp(1e-6, 0.99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_tails_speak_for_and_common_ones_against() {
        assert!((ln_bayes_factor(0.001, 0.1) - libm::log(50.12)).abs() < 1e-3);
        assert!((ln_bayes_factor(1.0, 0.1) - libm::log(0.1)).abs() < 1e-12);
        assert!(ln_bayes_factor(0.0, 0.1).is_finite());
    }

    #[test]
    fn odds_and_probabilities_agree() {
        assert!((probability(3.0) - 0.75).abs() < 1e-12);
        assert!((any([0.5, 0.5]) - 0.75).abs() < 1e-12);
        assert!((updated(0.5, 3.0) - 0.75).abs() < 1e-12);
    }
}
