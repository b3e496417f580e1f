//! Decayed counts, and what they predict.

/// Events that a decayed count predicts for a window. All times have one unit.
pub fn expected_in(window: f64, slow_count: f64, slow_tau: f64, age: f64) -> f64 {
    // A rate r over an age a counts r * tau * (1 - e^(-a/tau)), so this undoes a short history.
    let reach = |tau: f64| tau * (1.0 - libm::exp(-age.max(1.0) / tau.max(1.0)));
    slow_count * reach(window) / reach(slow_tau)
}

/// Surprise of a count against an expected one, in standard deviations; zero for a count below.
/// The variance of twice the root of a Poisson count is about 1 (Anscombe 1948).
pub fn surprise(count: f64, expected: f64) -> f64 {
    (2.0 * (count.max(0.0).sqrt() - expected.max(0.0).sqrt())).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_history_predicts_the_same_rate() {
        let day = 86_400.0;
        for age in [0.5 * day, 5.0 * day, 500.0 * day] {
            // One event an hour, counted with a time constant of 14 days.
            let slow = 14.0 * 24.0 * (1.0 - libm::exp(-age / (14.0 * day)));
            let expected = expected_in(6.0 * 3600.0, slow, 14.0 * day, age);
            assert!((expected - 6.0).abs() < 0.9, "{age}: {expected}");
        }
    }

    #[test]
    fn surprise_grows_with_the_count_alone() {
        assert_eq!(surprise(4.0, 9.0), 0.0);
        assert!((surprise(25.0, 9.0) - 4.0).abs() < 1e-12);
    }
}
